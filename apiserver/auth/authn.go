package auth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/skiffcluster/skiff/apiserver/inprocess"
)

// Authentication says what proves an identity.
type Authentication struct {
	// ClientCA signs client certificates; the common name is the user and
	// organizations are groups.
	ClientCA dynamiccertificates.CAContentProvider
	// TokenFile is a CSV file: token,user,uid[,"group,group"].
	TokenFile string
	// ServiceAccounts verifies their tokens; nil accepts none.
	ServiceAccounts *Tokens
}

// anonymousPaths answer without an identity, so that load balancers and
// `kubectl version` work; everything else needs one.
var anonymousPaths = []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}

// New gives the authenticator of requests and, for TokenReviews, of tokens.
func (a Authentication) New() (authenticator.Request, authenticator.Token, error) {
	requests := []authenticator.Request{authenticator.RequestFunc(inprocess.Authenticate)}
	if a.ClientCA != nil {
		if _, ok := a.ClientCA.VerifyOptions(); !ok {
			return nil, nil, errors.New("client CA holds no certificate")
		}
		verify := func() (x509.VerifyOptions, bool) { return a.ClientCA.VerifyOptions() }
		requests = append(requests, x509request.NewDynamic(verify, x509request.CommonNameUserConversion))
	}
	var tokens []authenticator.Token
	if a.TokenFile != "" {
		t, err := tokenfile.NewCSV(a.TokenFile)
		if err != nil {
			return nil, nil, fmt.Errorf("token file %s: %w", a.TokenFile, err)
		}
		tokens = append(tokens, t)
	}
	if a.ServiceAccounts != nil {
		tokens = append(tokens, a.ServiceAccounts)
	}
	all := tokenunion.New(tokens...)
	requests = append(requests, bearertoken.New(all), websocket.NewProtocolAuthenticator(all))
	known := group.NewAuthenticatedGroupAdder(union.New(requests...))
	var open []apiserver.AnonymousAuthCondition
	for _, p := range anonymousPaths {
		open = append(open, apiserver.AnonymousAuthCondition{Path: p})
	}
	return union.NewFailOnError(known, anonymous.NewAuthenticator(open)), all, nil
}

// Open says whether a path is answered without an identity.
func Open(path string) bool { return slices.Contains(anonymousPaths, path) }
