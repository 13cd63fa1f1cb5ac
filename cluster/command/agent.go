package command

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/proxier"
)

func newAgent() *cobra.Command {
	c := &cobra.Command{
		Use: "agent", Short: "Make this machine a node of a cluster", Args: cobra.NoArgs,
		Long: `Make this machine a node of a cluster: run pods, carry services and answer
names on it. 'skiff token create --print-join-command' on a master prints the
command with its token. Once the node has joined, the token is needed no more.`,
	}
	var cfg cluster.AgentConfig
	var dir, server, token, marks, taints string
	var simulated bool
	f := c.Flags()
	f.StringVar(&dir, "data-dir", "/var/lib/skiff-agent", "where images, pods' files and certificates are kept")
	f.StringVar(&server, "server", "", "URLs of masters; the others are found through them")
	f.StringVar(&token, "token", "", "token of 'skiff token create', or @FILE that holds it")
	f.StringVar(&cfg.Node.NodeName, "node-name", "", "the node's name (default: the host's)")
	f.StringVar(&cfg.Node.NodeIP, "node-ip", "", "the node's address, or one of each IP family separated by a comma (default: this machine's)")
	f.StringVar(&marks, "node-labels", "", "labels of the node: key=value,…")
	f.StringVar(&taints, "register-with-taints", "", "taints of the node: key=value:effect,…")
	f.StringVar(&cfg.Node.CgroupRoot, "cgroup-root", "", "cgroup that those of the pods are below: nodes that share a kernel need one each")
	f.DurationVar(&cfg.Node.LeasePeriod, "node-lease-renew-interval", 0, "time between signs of life of the node (default 10s)")
	f.IntVar(&cfg.Node.MaxPods, "max-pods", 110, "most pods on the node")
	f.StringVar(&cfg.Node.ContainerdAddress, "containerd", "", "address of a containerd to use; default: skiff runs its own")
	f.StringVar(&cfg.Node.BinDir, "bin-dir", "", "where containerd and runc are (default: beside skiff)")
	cniFlags(f, &cfg.Node.Config)
	f.StringVar(&cfg.Node.Proxier.LoadBalancerPool, "load-balancer-pool", "", "load-balancer addresses that nodes announce: networks and ranges, as the masters have it")
	proxyModeFlags(f, &cfg.Node.Proxier)
	f.IntVar(&cfg.Node.Port, "port", 10250, "port of the agent's API; -1 for any free one")
	f.IntVar(&cfg.Node.HealthPort, "healthz-port", 10248, "port of the agent's health; -1 for any free one, -2 for none")
	f.BoolVar(&simulated, "simulated", false, "run pods in memory: neither root nor containerd is needed")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if cfg.Servers = cluster.SplitServers(server); len(cfg.Servers) == 0 {
			return usageError{fmt.Errorf("--server is needed: the URL of a master")}
		}
		if cfg.DataDir, err = filepath.Abs(dir); err != nil {
			return err
		}
		if token != "" || !cluster.Joined(cfg.DataDir) {
			if cfg.Token, err = readToken(token, os.ReadFile); err != nil {
				return err
			}
		}
		if cfg.Node.NodeName, err = nodeName(cfg.Node.NodeName); err != nil {
			return err
		}
		if err := checkNodeIP(cfg.Node.NodeIP); err != nil {
			return usageError{err}
		}
		if cfg.Node.Labels, cfg.Node.Taints, err = nodeMarks(marks, taints); err != nil {
			return usageError{err}
		}
		if !simulated && os.Geteuid() != 0 {
			return fmt.Errorf("running containers needs root: run 'sudo skiff agent', or --simulated for pods in memory")
		}
		cfg.Node.Simulated = simulated
		cfg.Node.Proxier.HealthzBindAddress, cfg.Node.Proxier.MetricsBindAddress = proxier.DefaultHealthzBindAddress, proxier.DefaultMetricsBindAddress
		cfg.Progress = func(s cluster.Step) {
			if s.Err == nil {
				fmt.Fprintf(c.OutOrStdout(), " ✓ %-12s %6d ms\n", s.Name, s.Took.Milliseconds())
			}
		}
		agent, err := cluster.StartAgent(c.Context(), cfg)
		if err != nil {
			return err
		}
		defer agent.Stop()
		fmt.Fprintf(c.OutOrStdout(), "Node %s is part of the cluster.\n", cfg.Node.NodeName)
		select {
		case <-c.Context().Done():
			return nil
		case <-agent.Failed():
			return agent.Err()
		}
	}
	return c
}

// checkNodeIP: one address, or one of each family.
func checkNodeIP(list string) error {
	if list == "" {
		return nil
	}
	var is6 []bool
	for text := range strings.SplitSeq(list, ",") {
		ip := net.ParseIP(text)
		if ip == nil {
			return fmt.Errorf("--node-ip %q is not an IP address", text)
		}
		is6 = append(is6, ip.To4() == nil)
	}
	if len(is6) > 2 || len(is6) == 2 && is6[0] == is6[1] {
		return fmt.Errorf("--node-ip %s: there is one address, or one of each of IPv4 and IPv6", list)
	}
	return nil
}

// nodeMarks reads labels and taints as the kubelet's flags have them.
func nodeMarks(marks, taints string) (map[string]string, []corev1.Taint, error) {
	l, err := labels.ConvertSelectorToLabelsMap(marks)
	if err != nil {
		return nil, nil, fmt.Errorf("--node-labels: %w", err)
	}
	var out []corev1.Taint
	for t := range strings.SplitSeq(taints, ",") {
		if t == "" {
			continue
		}
		mark, effect, ok := strings.Cut(t, ":")
		key, value, _ := strings.Cut(mark, "=")
		switch e := corev1.TaintEffect(effect); {
		case !ok || key == "", e != corev1.TaintEffectNoSchedule && e != corev1.TaintEffectPreferNoSchedule && e != corev1.TaintEffectNoExecute:
			return nil, nil, fmt.Errorf("--register-with-taints %q is not of the form key=value:effect", t)
		default:
			out = append(out, corev1.Taint{Key: key, Value: value, Effect: e})
		}
	}
	return l, out, nil
}
