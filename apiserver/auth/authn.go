package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"

	"github.com/skiffcluster/skiff/apiserver/inprocess"
)

// Methods are the ways to prove an identity beside client certificates of the
// cluster's CA and service-account tokens. The zero value adds none.
type Methods struct {
	// ClientCAFile holds further CAs of client certificates.
	ClientCAFile string
	// TokenFile is a CSV file: token,user,uid[,"group,group"].
	TokenFile string
	// BasicFile holds users and bcrypt hashes of their passwords; see basic.go.
	BasicFile string
	// BootstrapTokens accepts tokens from secrets of kube-system.
	BootstrapTokens bool
	// OIDC trusts one issuer of ID tokens; ConfigFile, an
	// AuthenticationConfiguration, any number.
	OIDC       OIDC
	ConfigFile string
	// Webhook asks a server about tokens.
	Webhook TokenWebhook
	// RequestHeader believes what a front proxy says about users.
	RequestHeader options.RequestHeaderAuthenticationOptions
	// NoAnonymous refuses requests without an identity also for health and
	// version.
	NoAnonymous bool
}

// Authentication says what proves an identity.
type Authentication struct {
	Methods
	// ClientCA signs client certificates; the common name is the user and
	// organizations are groups.
	ClientCA dynamiccertificates.CAContentProvider
	// FrontProxy is who may speak for others; nil: nobody. See FrontProxyOf.
	FrontProxy *authenticatorfactory.RequestHeaderConfig
	// ServiceAccounts verifies their tokens; nil accepts none.
	ServiceAccounts *Tokens
	// Objects reads the secrets of bootstrap tokens.
	Objects Objects
	// Audiences are the API server's own, which tokens that name none are for.
	Audiences authenticator.Audiences
}

// Authenticator says who sends a request and whose a token is.
type Authenticator struct {
	Request authenticator.Request
	Token   authenticator.Token
	follow  []func(context.Context) // keep up with files
}

// anonymousPaths answer without an identity, so that load balancers and
// `kubectl version` work; everything else needs one.
var anonymousPaths = []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}

// New makes the authenticator. What it fetches in the background ends with ctx.
func (a Authentication) New(ctx context.Context) (*Authenticator, error) {
	out := &Authenticator{}
	requests := []authenticator.Request{authenticator.RequestFunc(inprocess.Authenticate)}
	if p := a.FrontProxy; p != nil {
		requests = append(requests, headerrequest.NewDynamicVerifyOptionsSecure(p.CAContentProvider.VerifyOptions,
			p.AllowedClientNames, p.UsernameHeaders, p.UIDHeaders, p.GroupHeaders, p.ExtraHeaderPrefixes))
	}
	if a.ClientCA != nil {
		if _, ok := a.ClientCA.VerifyOptions(); !ok {
			return nil, errors.New("client CA holds no certificate")
		}
		requests = append(requests, newCertificates(a.ClientCA.VerifyOptions))
	}
	open := openConditions(!a.NoAnonymous)
	if err := a.addTokens(ctx, out, &open); err != nil {
		return nil, err
	}
	requests = append(requests, bearertoken.New(out.Token), websocket.NewProtocolAuthenticator(out.Token))
	if a.BasicFile != "" {
		b, err := newBasic(a.BasicFile)
		if err != nil {
			return nil, err
		}
		requests = append(requests, b)
		out.follow = append(out.follow, b.follow)
	}
	known := group.NewAuthenticatedGroupAdder(union.New(requests...))
	out.Request = known
	if open.Enabled {
		out.Request = union.NewFailOnError(known, anonymous.NewAuthenticator(open.Conditions))
	}
	return out, nil
}

// addTokens puts together what verifies bearer tokens. Those that know nothing
// of audiences are for the API server's own.
func (a Authentication) addTokens(ctx context.Context, out *Authenticator, open *apiserver.AnonymousAuthConfig) error {
	var tokens []authenticator.Token
	own := func(t authenticator.Token) {
		tokens = append(tokens, authenticator.WrapAudienceAgnosticToken(a.Audiences, t))
	}
	if a.TokenFile != "" {
		t, err := tokenfile.NewCSV(a.TokenFile)
		if err != nil {
			return fmt.Errorf("--token-auth-file %s: %w", a.TokenFile, err)
		}
		own(t)
	}
	if a.ServiceAccounts != nil {
		tokens = append(tokens, a.ServiceAccounts)
	}
	if a.BootstrapTokens {
		own(bootstrapTokens{a.Objects})
	}
	if a.ConfigFile != "" || a.OIDC.set() {
		i, err := newIssuers(ctx, a)
		if err != nil {
			return err
		}
		if i.anonymous != nil {
			if a.NoAnonymous {
				return fmt.Errorf("--authentication-config %s: anonymous is set, and --anonymous-auth too: use one of them", a.ConfigFile)
			}
			*open = *i.anonymous
		}
		own(i)
		if a.ConfigFile != "" {
			out.follow = append(out.follow, i.follow)
		}
	}
	if a.Webhook.ConfigFile != "" {
		t, err := a.Webhook.open(a.Audiences)
		if err != nil {
			return err
		}
		tokens = append(tokens, t)
	}
	out.Token = tokenunion.New(tokens...)
	return nil
}

// Follow keeps up with the files that users and issuers come from until ctx
// ends.
func (a *Authenticator) Follow(ctx context.Context) {
	var group sync.WaitGroup
	for _, f := range a.follow {
		group.Go(func() { f(ctx) })
	}
	group.Wait()
}

func openConditions(enabled bool) apiserver.AnonymousAuthConfig {
	c := apiserver.AnonymousAuthConfig{Enabled: enabled}
	for _, p := range anonymousPaths {
		c.Conditions = append(c.Conditions, apiserver.AnonymousAuthCondition{Path: p})
	}
	return c
}

// FrontProxyOf reads the CA of the proxies that may speak for others; nil when
// none is configured.
func FrontProxyOf(o options.RequestHeaderAuthenticationOptions) (*authenticatorfactory.RequestHeaderConfig, error) {
	if errs := o.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c, err := o.ToAuthenticationRequestHeaderConfig()
	if err != nil {
		return nil, fmt.Errorf("--requestheader-client-ca-file %s: %w", o.ClientCAFile, err)
	}
	return c, nil
}

// ClientCAs joins the cluster's own CA with those of file.
func ClientCAs(own dynamiccertificates.CAContentProvider, file string) (dynamiccertificates.CAContentProvider, error) {
	if file == "" {
		return own, nil
	}
	more, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", file)
	if err != nil {
		return nil, fmt.Errorf("--client-ca-file %s: %w", file, err)
	}
	if own == nil {
		return more, nil
	}
	return dynamiccertificates.NewUnionCAContentProvider(own, more), nil
}

// Open says whether a path is answered without an identity.
func Open(path string) bool { return slices.Contains(anonymousPaths, path) }
