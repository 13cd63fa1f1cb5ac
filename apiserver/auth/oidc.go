package auth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"k8s.io/apiserver/pkg/apis/apiserver"
)

// OIDC are the flags that trust one issuer of ID tokens
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens).
type OIDC struct {
	IssuerURL, ClientID           string
	CAFile                        string // of the issuer's server; default: the host's CAs
	UsernameClaim, UsernamePrefix string // default sub; the issuer's URL before all but emails, "-" for none
	GroupsClaim, GroupsPrefix     string
	RequiredClaims                map[string]string
	SigningAlgs                   []string // default RS256
}

// set says whether any of the flags is given.
func (o OIDC) set() bool {
	return cmp.Or(o.IssuerURL, o.ClientID, o.CAFile, o.UsernameClaim, o.UsernamePrefix, o.GroupsClaim, o.GroupsPrefix) != "" ||
		len(o.RequiredClaims) > 0 || len(o.SigningAlgs) > 0
}

// configuration says the same as the flags.
func (o OIDC) configuration() (*apiserver.AuthenticationConfiguration, error) {
	if o.IssuerURL == "" || o.ClientID == "" {
		return nil, errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	}
	claim := cmp.Or(o.UsernameClaim, "sub")
	prefix := o.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = o.IssuerURL + "#"
	}
	j := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix}},
	}
	if o.GroupsClaim != "" {
		j.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: &o.GroupsPrefix}
	}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		j.Issuer.CertificateAuthority = string(ca)
	}
	for _, c := range slices.Sorted(maps.Keys(o.RequiredClaims)) {
		j.ClaimValidationRules = append(j.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: c, RequiredValue: o.RequiredClaims[c]})
	}
	return &apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{j}}, nil
}
