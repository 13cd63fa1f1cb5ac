package openapi

import (
	"net/http"

	"github.com/emicklei/go-restful/v3"
)

// Issuer describes the documents by which others learn to check tokens of
// service accounts, which are served elsewhere: the configuration, and the keys.
func Issuer(configuration, keys string) []*restful.WebService {
	describe := func(path, produces, doc, operation string) *restful.WebService {
		ws := new(restful.WebService).Path(path).Produces(produces)
		return ws.Route(ws.GET("").To(func(*restful.Request, *restful.Response) {}).Doc(doc).Operation(operation).Returns(http.StatusOK, "OK", ""))
	}
	return []*restful.WebService{
		describe(configuration, restful.MIME_JSON, "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", "getServiceAccountIssuerOpenIDConfiguration"),
		describe(keys, "application/jwk-set+json", "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", "getServiceAccountIssuerOpenIDKeyset"),
	}
}
