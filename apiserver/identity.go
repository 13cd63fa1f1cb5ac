package apiserver

import (
	"context"
	"crypto"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/skiffcluster/skiff/apiserver/audit"
	"github.com/skiffcluster/skiff/apiserver/auth"
)

// authenticate says who asks.
func (s *Server) authenticate(c *genericapiserver.Config) (err error) {
	a := auth.Authentication{Methods: s.config.Authentication, Objects: objects{s}}
	if a.ClientCA, err = s.clientCA(); err != nil {
		return err
	}
	if a.ClientCA != nil {
		if err := c.Authentication.ApplyClientCert(a.ClientCA, c.SecureServing); err != nil {
			return err
		}
		if r, ok := a.ClientCA.(dynamiccertificates.ControllerRunner); ok && c.SecureServing == nil {
			// Nobody else keeps up with the file.
			s.beside = append(s.beside, func(ctx context.Context) { r.Run(ctx, 1) })
		}
	}
	if a.FrontProxy, err = auth.FrontProxyOf(s.config.Authentication.RequestHeader); err != nil {
		return err
	}
	if a.FrontProxy != nil {
		c.Authentication.RequestHeaderConfig = a.FrontProxy
		if err := c.Authentication.ApplyClientCert(a.FrontProxy.CAContentProvider, c.SecureServing); err != nil {
			return err
		}
	}
	if s.tokens, err = s.serviceAccountTokens(); err != nil {
		return err
	}
	if s.tokens != nil {
		a.ServiceAccounts, a.Audiences = s.tokens, s.tokens.Audiences
	}
	s.audiences, c.Authentication.APIAudiences = a.Audiences, a.Audiences
	if s.authenticator, err = a.New(s.closing); err != nil {
		return err
	}
	c.Authentication.Authenticator = s.authenticator.Request
	s.beside = append(s.beside, s.authenticator.Follow)
	return nil
}

// clientCA signs client certificates: the cluster's and those of a file.
func (s *Server) clientCA() (dynamiccertificates.CAContentProvider, error) {
	var own dynamiccertificates.CAContentProvider
	if len(s.config.ClientCAPEM) > 0 {
		ca, err := dynamiccertificates.NewStaticCAContent("client-ca", s.config.ClientCAPEM)
		if err != nil {
			return nil, fmt.Errorf("client CA: %w", err)
		}
		own = ca
	}
	return auth.ClientCAs(own, s.config.Authentication.ClientCAFile)
}

// serviceAccountTokens is nil when there is no key to sign them with.
func (s *Server) serviceAccountTokens() (_ *auth.Tokens, err error) {
	c := s.config.ServiceAccounts
	signer := c.Key
	if c.SigningKeyFile != "" {
		if signer, err = auth.SigningKey(c.SigningKeyFile); err != nil {
			return nil, err
		}
	}
	if signer == nil {
		return nil, nil
	}
	var further []crypto.PublicKey
	if further, err = auth.VerifyingKeys(c.KeyFiles...); err != nil {
		return nil, err
	}
	t, err := auth.NewTokens(c.Issuers, signer, further...)
	if err != nil {
		return nil, err
	}
	t.Objects, t.MaxLifetime, t.Audiences = objects{s}, c.MaxLifetime, authenticator.Audiences(c.Issuers)
	if len(c.APIAudiences) > 0 {
		t.Audiences = c.APIAudiences
	}
	return t, nil
}

// authorize says what they may.
func (s *Server) authorize(c *genericapiserver.Config) (err error) {
	rbac := s.informers.Rbac().V1()
	s.rbac = &auth.RBAC{
		Roles: rbac.Roles().Lister(), RoleBindings: rbac.RoleBindings().Lister(),
		ClusterRoles: rbac.ClusterRoles().Lister(), ClusterRoleBindings: rbac.ClusterRoleBindings().Lister(),
	}
	nodes := &auth.Nodes{Pods: s.podsOfNode, Request: s.nodeOfRequest}
	s.authorizer, err = s.config.Authorization.New(auth.Deciders{
		First: []union.NamedAuthorizer{
			{AuthorizerName: "masters", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
			{AuthorizerName: "open-paths", Authorizer: authorizer.AuthorizerFunc(openPaths)},
		},
		Node: authorizer.AuthorizerFunc(nodes.Authorize), RBAC: s.rbac,
	})
	if err != nil {
		return err
	}
	c.Authorization.Authorizer, c.RuleResolver = s.authorizer, s.authorizer
	s.beside = append(s.beside, s.authorizer.Follow)
	return nil
}

// openPaths lets everybody, also without an identity, ask for health and
// version: nothing else is answered anonymously.
func openPaths(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !a.IsResourceRequest() && a.GetVerb() == "get" && auth.Open(a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// record writes down what is asked.
func (s *Server) record(c *genericapiserver.Config) (err error) {
	s.audit, err = audit.New(s.config.Audit)
	if err != nil {
		return err
	}
	s.audit.Apply(c)
	return nil
}

// encrypt reports on those who keep the keys of stored data.
func (s *Server) encrypt(c *genericapiserver.Config) error {
	checks := s.store.KeyChecks()
	c.HealthzChecks, c.ReadyzChecks = append(c.HealthzChecks, checks...), append(c.ReadyzChecks, checks...)
	return nil
}
