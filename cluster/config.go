package cluster

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/controllers"
	"github.com/skiffcluster/skiff/scheduler"
)

// Config says what cluster to start. Its zero value is a test cluster: data in
// a temporary directory without fsync, reached in-process.
type Config struct {
	// Name is the cluster's, in kubeconfigs. Default "skiff".
	Name string
	// DataDir keeps the cluster's data; empty: a temporary directory that Stop
	// removes.
	DataDir string
	// Listen is where the API is served by HTTPS, "127.0.0.1:0" for any free
	// port; empty: in-process only.
	Listen string
	// ServerNames are further names and addresses that clients know the API
	// server by.
	ServerNames []string
	// ClusterDomain is what service names end in. Default "cluster.local".
	ClusterDomain string
	// ClusterCIDR is what pods' addresses are from: one network, or one for each
	// IP family separated by a comma. Default 10.244.0.0/16.
	ClusterCIDR string
	// Progress is told of each step of the start.
	Progress func(Step)

	// What the cluster is to begin with is there when Start returns.
	//
	// CRDs are files of definitions, or directories of them, such as
	// config/crd/bases; what else is in them is left out. Definitions are
	// established.
	CRDs []string
	// Manifests are files, or directories of them, of any objects, and Objects
	// further ones: definitions are applied first, then namespaces, then the
	// rest, and webhook configurations in the end.
	Manifests []string
	Objects   []client.Object
	// Webhooks has a server on this machine answer the webhooks.
	Webhooks *Webhooks
	// Scheme has the Go types of Client and of Objects. Kinds in it that
	// convert (controller-runtime's Hub and Convertible) do so by Webhooks.
	// Default: the built-in kinds.
	Scheme *runtime.Scheme
	// Clock is what the controllers and the scheduler tell the time by, unless
	// their own Config says otherwise: CronJobs, deadlines, back-off. Nodes
	// live by the real one.
	Clock clock.WithTicker

	certificateClock clock.WithTicker // what certificates begin and end by; nil: the machine's

	// Masters are host:port of API servers that are processes of their own, with
	// the CA that is in DataDir ([ShareKeys]). There is none in this process then,
	// and no controllers and no scheduler: Nodes go to whichever master answers,
	// and so does what comes to Listen. One of them must serve.
	Masters []string
	// Join makes this a further master of a cluster that runs.
	Join *Join
	// ApproveServing approves the serving certificates of nodes that join.
	ApproveServing bool
	// Snapshots are taken at times.
	Snapshots SnapshotSchedule

	// Without leaves rooms out.
	Without []Room

	APIServer   apiserver.Config
	Controllers controllers.Config
	Scheduler   scheduler.Config
	// Nodes run on this machine. Empty: one that is simulated.
	Nodes []Node
}

// Step is a part of the start that has ended.
type Step struct {
	Name string
	Took time.Duration
	Err  error
}

// Validate checks what a person may have got wrong, and names it by its flag.
func (c Config) Validate() error {
	c.complete()
	for _, r := range c.Without {
		if !slices.Contains([]Room{Controllers, Scheduler, Nodes}, r) {
			return fmt.Errorf("--without %q: there are %s, %s and %s", r, Controllers, Scheduler, Nodes)
		}
	}
	return checkNetworks(c.ClusterCIDR, c.APIServer.ServiceClusterIPRange)
}

func (c *Config) complete() {
	for v, d := range map[*string]string{
		&c.Name: "skiff", &c.ClusterDomain: "cluster.local", &c.ClusterCIDR: "10.244.0.0/16",
		&c.APIServer.ServiceClusterIPRange: "10.96.0.0/12",
	} {
		if *v == "" {
			*v = d
		}
	}
	if c.certificateClock == nil {
		c.certificateClock = clock.RealClock{}
	}
	if len(c.Nodes) == 0 {
		c.Nodes = []Node{{Simulated: true}}
	}
}
