package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// patience is how long a test waits for what happens at once on an idle
// machine.
const patience = 30 * time.Second

var onlyAPI = []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}

// socket starts an API server that listens for TLS.
func socket(t testing.TB, change func(*cluster.Config)) *clustertest.Cluster {
	t.Helper()
	cfg := cluster.Config{Listen: "127.0.0.1:0", Without: onlyAPI}
	if change != nil {
		change(&cfg)
	}
	return clustertest.With(t, cfg)
}

func access(t testing.TB, c *clustertest.Cluster) *restclient.Config {
	t.Helper()
	a, err := c.Access()
	if err != nil {
		t.Fatal(err)
	}
	return a.RESTConfig()
}

// raw speaks HTTP to a server.
type raw struct {
	t    testing.TB
	base string
	http *http.Client
}

func rawTo(t testing.TB, cfg *restclient.Config) *raw {
	t.Helper()
	h, err := restclient.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.CloseIdleConnections)
	return &raw{t, strings.TrimSuffix(cfg.Host, "/"), h}
}

// answer is a whole answer.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// status is the answer as a Status object.
func (a answer) status(t testing.TB) metav1.Status {
	t.Helper()
	var s metav1.Status
	if err := json.Unmarshal(a.body, &s); err != nil {
		t.Fatalf("not a Status: %v: %s", err, a.body)
	}
	return s
}

// into decodes the answer as JSON.
func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if a.code >= 300 {
		t.Fatalf("code %d: %s", a.code, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

// do sends a request; headers are pairs.
func (r *raw) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewBufferString(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := r.http.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, data}
}

func (r *raw) get(path string, headers ...string) answer { return r.do("GET", path, "", headers...) }

func clientset(t testing.TB, cfg *restclient.Config) *kubernetes.Clientset {
	t.Helper()
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// eventually waits until f says nil.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(context.Background(), 5*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = f()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("still after %s: %v", patience, last)
	}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

// account makes the default service account, which a controller does in a
// whole cluster.
func account(t testing.TB, k *kubernetes.Clientset, namespace string) *corev1.ServiceAccount {
	t.Helper()
	a, err := k.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pod is the least that is a pod.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}
}

// bare is a server without a cluster around it.
type bare struct {
	*apiserver.Server
	stop func() error // ends it and says what Run returned
	wait func() error // waits for its end
}

// admin may do everything.
var admin = &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}

// start starts a bare server.
func start(t testing.TB, c apiserver.Config) *bare {
	t.Helper()
	if c.Etcd.Dir == "" {
		c.Etcd = etcd.Config{Dir: t.TempDir(), NoSync: true, Tick: 10 * time.Millisecond}
	}
	s, err := apiserver.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait := sync.OnceValue(func() error { defer cancel(); return <-ended })
	b := &bare{s, func() error { cancel(); return wait() }, wait}
	t.Cleanup(func() { _ = b.stop() })
	select {
	case <-s.Ready():
	case err := <-ended:
		cancel()
		t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return b
}

func (b *bare) admin() *restclient.Config { return b.RESTConfig(admin) }
