package admission_test

import (
	"testing"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// server is an API server on data that stays, and nothing else.
func server(t *testing.T, dir string) *clustertest.Cluster {
	t.Helper()
	return clustertest.With(t, cluster.Config{DataDir: dir, Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}})
}
