package clustertest

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster"
)

// startTimeout is how long a start may take on a machine that is busy with
// other tests, whose clusters start first.
const startTimeout = 3 * time.Minute

// Cluster is a cluster that ends with its test.
type Cluster struct {
	*cluster.Cluster
	client client.WithWatch
}

// New starts a cluster of API server, controllers, scheduler and one simulated
// node.
func New(t testing.TB) *Cluster {
	t.Helper()
	return With(t, cluster.Config{})
}

// APIServer starts an API server and nothing else: no controller acts on what
// the test creates.
func APIServer(t testing.TB) *Cluster {
	t.Helper()
	return With(t, cluster.Config{Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}})
}

// With starts the cluster that config says.
func With(t testing.TB, config cluster.Config) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := cluster.Start(ctx, config)
	if err != nil {
		t.Fatalf("start cluster: %v", err)
	}
	t.Cleanup(c.Stop)
	k, err := c.Client()
	if err != nil {
		t.Fatalf("client of the cluster: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tell(t, k)
		}
	})
	return &Cluster{Cluster: c, client: k}
}

// Client has all rights and the types of Config.Scheme. It does not cache: it
// reads what was written.
func (c *Cluster) Client() client.WithWatch { return c.client }

// KubeconfigFile gives the path of an administrator's kubeconfig for kubectl
// and other processes. The cluster listens on a free port of 127.0.0.1 from now
// on, and the file ends with the test.
func (c *Cluster) KubeconfigFile(t testing.TB) string {
	t.Helper()
	path, err := c.Cluster.KubeconfigFile()
	if err != nil {
		t.Fatalf("kubeconfig of the cluster: %v", err)
	}
	return path
}
