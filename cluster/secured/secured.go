package secured

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// Config says what is served where.
type Config struct {
	// Listener takes connections and is closed at the end.
	Listener net.Listener
	// TLS has the certificate.
	TLS *tls.Config
	// REST asks the API server who a bearer token is, and what he may.
	REST *rest.Config
	// Ready is closed when /readyz is to say so.
	Ready <-chan struct{}
	// Metrics are what /metrics tells.
	Metrics prometheus.Gatherer
}

// How long the API server's answers count, as in Kubernetes' components.
const answerTTL = 10 * time.Second

// Serve serves until the function that it gives is called, which waits for the
// end.
func Serve(ctx context.Context, cfg Config) (stop func(), err error) {
	a, err := newAccess(cfg.REST)
	if err != nil {
		_ = cfg.Listener.Close() // nothing was accepted
		return nil, err
	}
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }
	mux.HandleFunc("/healthz", ok)
	mux.HandleFunc("/livez", ok)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-cfg.Ready:
			ok(w, r)
		default:
			http.Error(w, "not ready", http.StatusInternalServerError)
		}
	})
	mux.Handle("/metrics", a.guard(promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})))
	server := &http.Server{
		Handler: mux, TLSConfig: cfg.TLS, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.ServeTLS(cfg.Listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "Stopped serving health and metrics", "address", cfg.Listener.Addr())
		}
	}()
	return func() {
		_ = server.Close() // closing the listener is all that can fail
		<-done
	}, nil
}

// access asks the API server who somebody is and what he may.
type access struct {
	who authenticator.Request
	may authorizer.Authorizer
}

func newAccess(config *rest.Config) (*access, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for reviews: %w", err)
	}
	backoff := options.DefaultAuthWebhookRetryBackoff()
	who, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient: client.AuthenticationV1(), TokenAccessReviewTimeout: 10 * time.Second,
		WebhookRetryBackoff: backoff, CacheTTL: answerTTL,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up authentication: %w", err)
	}
	may, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(), AllowCacheTTL: answerTTL, DenyCacheTTL: answerTTL, WebhookRetryBackoff: backoff,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up authorization: %w", err)
	}
	return &access{who, may}, nil
}

// guard lets requests through whose sender may get the path.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := a.who.AuthenticateRequest(r)
		if err != nil || !ok {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		decision, _, err := a.may.Authorize(r.Context(), authorizer.AttributesRecord{User: who.User, Verb: "get", Path: r.URL.Path})
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case decision != authorizer.DecisionAllow:
			http.Error(w, fmt.Sprintf("Forbidden: User %q cannot get path %q", who.User.GetName(), r.URL.Path), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
