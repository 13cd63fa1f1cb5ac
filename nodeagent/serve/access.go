package serve

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// How long the API server's answers count, as in the kubelet's configuration
// (authentication.webhook.cacheTTL, authorization.webhook.cache*TTL).
const (
	tokenTTL = 2 * time.Minute
	allowTTL = 5 * time.Minute
	denyTTL  = 30 * time.Second
)

// access decides who may do what, by asking the API server.
type access struct {
	who  authenticator.Request
	may  authorizer.Authorizer
	node string
}

func newAccess(cfg Config) (*access, error) {
	client, err := kubernetes.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	backoff := options.DefaultAuthWebhookRetryBackoff()
	who := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient:  client.AuthenticationV1(),
		TokenAccessReviewTimeout: 10 * time.Second,
		WebhookRetryBackoff:      backoff,
		CacheTTL:                 tokenTTL,
	}
	if len(cfg.ClientCA) > 0 {
		ca, err := dynamiccertificates.NewStaticCAContent("client-ca", cfg.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("read the CA of clients: %w", err)
		}
		who.ClientCertificateCAContentProvider = ca
	}
	a := &access{node: cfg.NodeName}
	if a.who, _, err = who.New(); err != nil {
		return nil, fmt.Errorf("set up authentication: %w", err)
	}
	a.may, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             allowTTL,
		DenyCacheTTL:              denyTTL,
		WebhookRetryBackoff:       backoff,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up authorization: %w", err)
	}
	return a, nil
}

// guard lets requests through whose sender may do what they ask for.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := a.who.AuthenticateRequest(r)
		if err != nil || !ok {
			if err != nil {
				klog.FromContext(r.Context()).Error(err, "Unable to authenticate the request due to an error")
			}
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb, subresources := verbOf(r.Method), subresourcesOf(r.URL.Path)
		for _, sub := range subresources {
			decision, _, err := a.may.Authorize(r.Context(), a.attributes(who.User, verb, sub, r.URL.Path))
			if err != nil {
				klog.FromContext(r.Context()).Error(err, "Authorization error", "user", who.User.GetName(), "verb", verb, "subresource", sub)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", who.User.GetName(), verb, sub),
					http.StatusInternalServerError)
				return
			}
			if decision == authorizer.DecisionAllow {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", who.User.GetName(), verb, subresources),
			http.StatusForbidden)
	})
}

func (a *access) attributes(who user.Info, verb, subresource, path string) authorizer.Attributes {
	return authorizer.AttributesRecord{
		User:            who,
		Verb:            verb,
		APIVersion:      "v1",
		Resource:        "nodes",
		Subresource:     subresource,
		Name:            a.node,
		ResourceRequest: true,
		Path:            path,
	}
}

func verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

// subresourcesOf gives the subresources of nodes of which a caller must be
// allowed one to ask for a path. The finer ones come first.
func subresourcesOf(path string) []string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "stats":
		return []string{"stats"}
	case "metrics":
		return []string{"metrics"}
	case "logs":
		return []string{"log"}
	case "checkpoint":
		return []string{"checkpoint"}
	case "configz":
		return []string{"configz", "proxy"}
	case "healthz":
		return []string{"healthz", "proxy"}
	case "pods", "runningpods":
		return []string{"pods", "proxy"}
	}
	return []string{"proxy"}
}
