package cluster_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster"
)

// What is beside masters that are processes of their own needs none of them in
// particular.
func TestNodesAndClientsGoToWhicheverMasterAnswers(t *testing.T) {
	dir := t.TempDir()
	places := []master{newMaster(t), newMaster(t)}
	if err := cluster.ShareKeys(dir, places[0].dir); err != nil {
		t.Fatal(err)
	}
	servers := []string{freeAddress(t), freeAddress(t)}
	start := func(i int, join *cluster.Join) *cluster.Cluster {
		config := places[i].config(join)
		config.Listen = servers[i]
		c, err := cluster.Start(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Stop)
		return c
	}
	first := start(0, nil)
	second := start(1, &cluster.Join{Servers: []string{"https://" + servers[0]}, Token: tokenOf(t, first, true)})
	config := cluster.Config{
		Name: "beside", DataDir: dir, Masters: servers, Listen: "127.0.0.1:0", Nodes: []cluster.Node{{Simulated: true}},
		Objects: []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "to-begin-with"}}},
	}
	c, err := cluster.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if !slices.Equal(c.CA(), first.CA()) {
		t.Error("it has another CA than its masters")
	}
	access, err := c.Access()
	if err != nil {
		t.Fatal(err)
	}
	outside, err := kubernetes.NewForConfig(access.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outside.CoreV1().Namespaces().Get(t.Context(), "to-begin-with", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	began := time.Now()
	within(t, func() error { return nodeReady(t.Context(), outside, "beside-0", began.Add(-time.Hour)) })

	// A part speaks for itself, with its own rights and no more.
	node, err := kubernetes.NewForConfig(c.As("system:node:beside-0", "system:nodes"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.CoreV1().Nodes().Get(t.Context(), "beside-0", metav1.GetOptions{}); err != nil {
		t.Errorf("a node does not see itself: %v", err)
	}
	if _, err := node.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("a node sees all secrets")
	}

	// Of two members one alone has no majority: each goes, and comes back.
	first.Stop()
	first = start(0, nil)
	keep(t, outside, "after")
	second.Stop()
	second = start(1, nil)
	keep(t, outside, "after-both")
	for _, k := range []kubernetes.Interface{clientOf(t, first), clientOf(t, second), clientOf(t, c)} {
		within(t, func() error {
			_, err := k.CoreV1().ConfigMaps("default").Get(t.Context(), "after-both", metav1.GetOptions{})
			return err
		})
	}
}

func TestAMasterIsGivenTheKeysOfItsClusterOnce(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	alone, err := cluster.Start(t.Context(), cluster.Config{DataDir: from, Without: []cluster.Room{cluster.Nodes}})
	if err != nil {
		t.Fatal(err)
	}
	alone.Stop()
	if err := cluster.ShareKeys(from, to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "ca.key", "sa.key", "front-proxy/ca.crt", "front-proxy/ca.key"} {
		want, err := os.ReadFile(filepath.Join(from, "pki", name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(to, "pki", name)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(to, "pki", "*client*")); err != nil || len(left) > 0 {
		t.Errorf("it was given what is another's own: %v %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(to, "pki", "sa.key"), []byte("its own"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cluster.ShareKeys(from, to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "pki", "sa.key")); err != nil || string(got) != "its own" {
		t.Errorf("a key was replaced by %q, %v", got, err)
	}
}
