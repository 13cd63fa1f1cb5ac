package command

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/skiffcluster/skiff/controllers"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/proxier"
)

// nodeLifecycleFlags say when a node counts as lost, and how fast lost ones are
// given up: kube-controller-manager's.
func nodeLifecycleFlags(f *pflag.FlagSet, c *controllers.Config) {
	f.DurationVar(&c.NodeMonitorPeriod, "node-monitor-period", 0, "time between looks at the nodes (default 5s)")
	f.DurationVar(&c.NodeMonitorGracePeriod, "node-monitor-grace-period", 0, "how long a node may be silent (default 40s)")
	f.DurationVar(&c.NodeStartupGracePeriod, "node-startup-grace-period", 0, "how long a node that has just registered may be silent (default 1m0s)")
	f.Var(rate{&c.NodeEvictionRate}, "node-eviction-rate", "nodes per second that are given up while their zone is well; 0: none (default 0.1)")
	f.Var(rate{&c.SecondaryNodeEvictionRate}, "secondary-node-eviction-rate", "the same in a zone that is ill, if it has more nodes than --large-cluster-size-threshold; else none are (default 0.01)")
	f.Int32Var(&c.LargeClusterSizeThreshold, "large-cluster-size-threshold", 50, "nodes of a zone")
	f.Float32Var(&c.UnhealthyZoneThreshold, "unhealthy-zone-threshold", 0.55, "from which share of its nodes that are lost, three at least, a zone is ill")
}

// rate is a flag of so many per second. None at all is negative, since zero
// stands for the default.
type rate struct{ v *float32 }

func (r rate) Type() string { return "float32" }

func (r rate) String() string {
	if r.v == nil || *r.v == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(max(*r.v, 0)), 'g', -1, 32)
}

func (r rate) Set(s string) error {
	v, err := strconv.ParseFloat(s, 32)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no number of nodes per second", s)
	}
	if *r.v = float32(v); v == 0 {
		*r.v = -1
	}
	return nil
}

// cniFlags have a node's pod network made by plugins.
func cniFlags(f *pflag.FlagSet, c *nodeagent.Config) {
	f.StringVar(&c.CNIConfDir, "cni-conf-dir", "", "where CNI configurations are, such as /etc/cni/net.d: the first is used instead of the built-in pod network")
	f.StringVar(&c.CNIBinDir, "cni-bin-dir", "", "where CNI plugins are (default /opt/cni/bin)")
}

// proxyModeFlags choose what carries services on a node.
func proxyModeFlags(f *pflag.FlagSet, c *proxier.Config) {
	f.StringVar((*string)(&c.Mode), "proxy-mode", "", "ipvs or nftables; default: ipvs where the kernel has it")
	f.StringVar(&c.IPVSScheduler, "ipvs-scheduler", "rr", "scheduler of IPVS: rr wrr lc wlc lblc lblcr dh sh mh sed nq fo ovf twos")
}
