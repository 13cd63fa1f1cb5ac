package secured_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/pki"
	"github.com/skiffcluster/skiff/cluster/secured"
)

func TestServe(t *testing.T) {
	c := clustertest.With(t, cluster.Config{
		Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
		Objects: []client.Object{&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "prometheus"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "system:monitoring"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "prometheus"}},
		}},
	})
	store, err := pki.Open("", clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := store.Serving("test", pkix.Name{CommonName: "test"}, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is local
	if err != nil {
		t.Fatal(err)
	}
	registry, ready := prometheus.NewRegistry(), make(chan struct{})
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
	registry.MustRegister(counter)
	counter.Inc()
	stop, err := secured.Serve(t.Context(), secured.Config{
		Listener: listener, TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: leaf.ServerCertificate}, REST: c.RESTConfig(), Ready: ready, Metrics: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(store.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	defer transport.CloseIdleConnections()
	get := func(path, token string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listener.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		a, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Body.Close() }()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, string(body)
	}
	token := func(name string) string {
		t.Helper()
		a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
		if err := c.Client().Create(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		r := &authenticationv1.TokenRequest{}
		if err := c.Client().SubResource("token").Create(t.Context(), a, r); err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	monitor := token("prometheus")
	for _, tt := range []struct {
		name, path, token string
		code              int
		want              string
	}{
		{"health is everybody's", "/healthz", "", 200, "ok"},
		{"a room that is not ready says so", "/readyz", "", 500, "not ready"},
		{"metrics are nobody's without a name", "/metrics", "", 401, "Unauthorized"},
		{"a wrong token is no name", "/metrics", "x", 401, "Unauthorized"},
		{"metrics are not everybody's", "/metrics", token("other"), 403, `Forbidden: User "system:serviceaccount:default:other" cannot get path "/metrics"`},
		{"metrics are for monitors", "/metrics", monitor, 200, "things_total 1"},
		{"there is no other path", "/other", monitor, 404, "not found"},
	} {
		if code, body := get(tt.path, tt.token); code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.name, code, body)
		}
	}
	close(ready)
	if code, body := get("/readyz", ""); code != 200 {
		t.Errorf("ready: %d %s", code, body)
	}
}
