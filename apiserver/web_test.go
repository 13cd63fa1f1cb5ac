package apiserver_test

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
)

func TestHTTPIsServedAsTheFlagsSay(t *testing.T) {
	t.Parallel()
	const page = "https://console.example.com"
	for _, tt := range []struct {
		name string
		web  apiserver.Web
		want [5]string // of CORS, HSTS, HTTP, /debug/pprof, own name
	}{
		{"by default", apiserver.Web{}, [5]string{"", "", "h2", "200", "127.0.0.1:"}},
		{"as configured", apiserver.Web{
			CORSAllowedOrigins: []string{`//console\.example\.com$`}, HSTSDirectives: []string{"max-age=300", "includeSubDomains"},
			NoHTTP2: true, NoProfiling: true, ExternalHostname: "api.example.com", LivezGracePeriod: time.Second, MinRequestTimeout: time.Minute,
		}, [5]string{page, "max-age=300; includeSubDomains", "http/1.1", "404", "api.example.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := socket(t, func(c *cluster.Config) { c.APIServer.Web = tt.web })
			r := rawTo(t, access(t, c))
			a := r.get("/api", "Origin", page)
			state, err := handshake(t, c, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
			if err != nil {
				t.Fatal(err)
			}
			var versions metav1.APIVersions
			a.into(t, &versions)
			got := [5]string{
				a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Strict-Transport-Security"), state.NegotiatedProtocol,
				fmt.Sprint(r.get("/debug/pprof/").code), versions.ServerAddressByClientCIDRs[0].ServerAddress,
			}
			if strings.HasPrefix(got[4], tt.want[4]) {
				got[4] = tt.want[4]
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFlagsThatCannotBeStopTheStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*apiserver.Config)
		want   string
	}{
		{"a great chance", func(c *apiserver.Config) { c.Web.GoawayChance = 0.5 }, "--goaway-chance can not be less than 0 or greater than 0.02"},
		{"a directive that there is not", func(c *apiserver.Config) { c.Web.HSTSDirectives = []string{"always"} }, "--strict-transport-security-directives invalid"},
		{"CAs of agents that are not there", func(c *apiserver.Config) { c.KubeletCAFile = "/nowhere" }, "--kubelet-certificate-authority: open /nowhere"},
		{"a certificate for agents without its key", func(c *apiserver.Config) { c.KubeletClientCertFile = "/nowhere" }, "--kubelet-client-certificate, --kubelet-client-key: open /nowhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cluster.Config{Without: onlyAPI, DataDir: filepath.Join(t.TempDir(), "data")}
			tt.change(&cfg.APIServer)
			c, err := cluster.Start(t.Context(), cfg)
			if err == nil {
				c.Stop()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// Everything that reads the watch cache has to do without.
func TestAServerWithoutWatchCaches(t *testing.T) {
	t.Parallel()
	to := access(t, socket(t, func(c *cluster.Config) { c.APIServer.Etcd.NoWatchCache = true }))
	k := clientset(t, to)
	maps := k.CoreV1().ConfigMaps("default")
	w, err := maps.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	makeMap(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	timeout := time.After(patience)
	for seen := false; !seen; {
		select {
		case e := <-w.ResultChan():
			m, ok := e.Object.(*corev1.ConfigMap)
			seen = ok && m.Name == "a"
		case <-timeout:
			t.Fatal("the watch does not tell of a new object")
		}
	}
	list, err := maps.List(t.Context(), metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=a"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("listed %d objects, %v", len(list.Items), err)
	}

	r := rawTo(t, to)
	if a := r.do("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition("things", `{"type":"object"}`)); a.code != 201 {
		t.Fatalf("%s", a.body)
	}
	const things = "/apis/bad.example.com/v1/namespaces/default/things"
	eventually(t, func() error {
		if a := r.do("POST", things, `{"apiVersion":"bad.example.com/v1","kind":"things","metadata":{"name":"a"}}`); a.code != 201 {
			return fmt.Errorf("create a custom resource: %s", a.body)
		}
		return nil
	})
	var custom metav1.PartialObjectMetadataList
	if r.get(things).into(t, &custom); len(custom.Items) != 1 || custom.Items[0].Kind != "things" {
		t.Errorf("listed %+v", custom.Items)
	}
	var root metav1.RootPaths
	if r.get("/").into(t, &root); !slices.Contains(root.Paths, "/apis/bad.example.com") || !slices.Contains(root.Paths, "/apis/bad.example.com/v1") {
		t.Errorf("/ lists %v", root.Paths)
	}
}
