package cluster_test

import (
	"testing"
	"time"
	"context"
	"net/http"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestSmoke(t *testing.T) {
	t0 := time.Now()
	c := clustertest.New(t)
	t.Log("up", time.Since(t0))
	k := kubernetes.NewForConfigOrDie(c.RESTConfig())
	ctx := context.Background()
	t0 = time.Now()
	if _, err := k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Log("create", time.Since(t0))
	l, err := k.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	t.Log(len(l.Items), err)
	rc := c.RESTConfig()
	h, _ := rest.HTTPClientFor(rc)
	for _, p := range []string{"/readyz?verbose", "/apis", "/api", "/version", "/openapi/v3"} {
		r, err := h.Get(rc.Host + p)
		if err != nil { t.Fatal(err) }
		b, _ := io.ReadAll(r.Body)
		t.Log(p, r.StatusCode, string(b[:min(len(b), 600)]))
	}
	_ = http.MethodGet
	t0 = time.Now()
	c2 := clustertest.New(t)
	t.Log("second up", time.Since(t0), c2 != nil)
}
