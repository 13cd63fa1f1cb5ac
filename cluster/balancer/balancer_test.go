package balancer_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster/balancer"
	"github.com/skiffcluster/skiff/cluster/pki"
)

// cast is servers that say who they are, and a balancer over them.
type cast struct {
	names   map[string]*httptest.Server
	order   []string
	trusted *tls.Config
}

func newCast(t *testing.T, names ...string) *cast {
	t.Helper()
	store, err := pki.Open("", clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := store.Serving("s", pkix.Name{CommonName: "s"}, "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(store.CA())
	c := &cast{names: map[string]*httptest.Server{}, trusted: &tls.Config{RootCAs: roots}}
	for _, n := range names {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) }))
		s.EnableHTTP2, s.TLS = true, &tls.Config{GetCertificate: leaf.ServerCertificate}
		s.StartTLS()
		t.Cleanup(s.Close)
		c.names[n] = s
		c.order = append(c.order, s.URL)
	}
	return c
}

func ask(t *testing.T, b *balancer.Balancer) (string, error) {
	t.Helper()
	h, err := restclient.HTTPClientFor(b.RESTConfig(""))
	if err != nil {
		t.Fatal(err)
	}
	return get(t, h)
}

func answers(t *testing.T, b *balancer.Balancer, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, err := ask(t, b)
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q answers, %v; want %q", got, err, want)
		}
	}
}

func TestOneServerIsKeptUntilItIsGone(t *testing.T) {
	c := newCast(t, "a", "b", "c")
	b, err := balancer.New(c.order, c.trusted)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Reconnect()
	answers(t, b, "a")
	answers(t, b, "a")
	c.names["a"].CloseClientConnections()
	c.names["a"].Close()
	answers(t, b, "b")
	b.Drop()
	answers(t, b, "c")
	b.Drop() // a is gone: b is next
	answers(t, b, "b")
}

// A process that is stopped takes connections, in the kernel, and says nothing.
func TestAServerThatSaysNothingIsPassedOver(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := newCast(t, "b")
	b, err := balancer.New(append([]string{"https://" + silent.Addr().String()}, c.order...), c.trusted)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Reconnect()
	answers(t, b, "b")
	if b.Servers()[0] != c.names["b"].Listener.Addr().String() {
		t.Errorf("%v: the silent one is asked first again", b.Servers())
	}
}

func TestNoServer(t *testing.T) {
	if _, err := balancer.New(nil, &tls.Config{}); err == nil {
		t.Error("none is enough")
	}
	if _, err := balancer.New([]string{"nonsense"}, &tls.Config{}); err == nil {
		t.Error("nonsense is a server")
	}
	c := newCast(t, "a")
	c.names["a"].Close()
	b, err := balancer.New(c.order, c.trusted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, b); err == nil {
		t.Error("a server that is closed answers")
	}
}

func TestServersAreFollowed(t *testing.T) {
	b, err := balancer.New([]string{"https://10.0.0.9:6443"}, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		Ports:      []discoveryv1.EndpointPort{{Port: ptr.To[int32](6443)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.2"}}, {Addresses: []string{"10.0.0.1"}},
			{Addresses: []string{"10.0.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
		},
	}
	told := make(chan []string, 10)
	done := make(chan error)
	ctx := t.Context()
	go func() { done <- b.Follow(ctx, fake.NewClientset(slice), func(s []string) { told <- s }) }()
	want := []string{"10.0.0.1:6443", "10.0.0.2:6443"}
	select {
	case got := <-told:
		if !slices.Equal(got, want) || !slices.Equal(b.Servers(), want) {
			t.Errorf("%v %v, want %v", got, b.Servers(), want)
		}
	case err := <-done:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was told")
	}
}
