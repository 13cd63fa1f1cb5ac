package cluster

import (
	"fmt"
	"net/netip"
	"time"

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
	// ClusterCIDR is what pods' addresses are from. Default 10.244.0.0/16.
	ClusterCIDR string
	// Progress is told of each step of the start.
	Progress func(Step)

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
	pods, err := prefix("cluster-cidr", c.ClusterCIDR)
	if err != nil {
		return err
	}
	services, err := prefix("service-cluster-ip-range", c.APIServer.ServiceClusterIPRange)
	if err != nil {
		return err
	}
	if pods.Overlaps(services) {
		return fmt.Errorf("--cluster-cidr %s and --service-cluster-ip-range %s overlap: pods and services need addresses of their own", pods, services)
	}
	return nil
}

func prefix(flag, value string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(value)
	if err != nil {
		return p, fmt.Errorf("--%s %q is not a network such as 10.244.0.0/16", flag, value)
	}
	return p.Masked(), nil
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
	if len(c.Nodes) == 0 {
		c.Nodes = []Node{{Simulated: true}}
	}
}
