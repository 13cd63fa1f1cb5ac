package apiserver

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/apiserver/reviews"
)

// addSubresources adds what only one kind has.
func (s *Server) addSubresources() error {
	return nil
}

// reviews are the kinds that are answered and not stored.
func (s *Server) reviews() map[schema.GroupVersion]map[string]rest.Storage {
	return reviews.New(reviews.Deps{
		Tokens: s.tokenAuthenticator, Audiences: s.audiences, Authorizer: s.generic.Authorizer, Rules: s.rbac,
	})
}
