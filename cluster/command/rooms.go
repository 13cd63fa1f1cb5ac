package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/skiffcluster/skiff/controllers"
	"github.com/skiffcluster/skiff/proxier"
	"github.com/skiffcluster/skiff/scheduler"
)

// clientFlags adds how to reach an API server that runs elsewhere.
func clientFlags(f *pflag.FlagSet) func() (*restclient.Config, error) {
	var kubeconfig, context, master string
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig that reaches the API server (default: kubectl's own)")
	f.StringVar(&context, "context", "", "context of the kubeconfig to use")
	f.StringVar(&master, "master", "", "URL of the API server instead of the kubeconfig's")
	return func() (*restclient.Config, error) {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = kubeconfig
		o := &clientcmd.ConfigOverrides{CurrentContext: context}
		o.ClusterInfo.Server = master
		c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, o).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("kubeconfig: %w", err)
		}
		c.QPS = -1 // the server decides what is too much
		return c, nil
	}
}

func newControllers() *cobra.Command {
	c := &cobra.Command{
		Use: "controllers", Short: "Run the controllers against any Kubernetes API server", Args: cobra.NoArgs,
		Long: `Run the controllers against any Kubernetes API server. With leader election,
which is the default, they wait while others lead and take over when those end.`,
	}
	var cfg controllers.Config
	f := c.Flags()
	client := clientFlags(f)
	f.BoolVar(&cfg.LeaderElect, "leader-elect", true, "act only while holding the Lease")
	controllerFlags(f, &cfg)
	f.IntVar(&cfg.Concurrency, "concurrency", 5, "objects that each controller works on at a time")
	f.StringVar(&cfg.ClusterCIDR, "cluster-cidr", "", "network of the pods")
	f.StringVar(&cfg.LoadBalancerPool, "load-balancer-pool", "", "networks and ranges that services of type LoadBalancer get addresses from (default: the nodes' own addresses)")
	f.BoolVar(&cfg.AllocateNodeCIDRs, "allocate-node-cidrs", false, "give nodes parts of --cluster-cidr")
	nodeLifecycleFlags(f, &cfg)
	f.DurationVar(&cfg.LeaseDuration, "leader-elect-lease-duration", 0, "how long others wait for a silent leader (default 2s)")
	f.DurationVar(&cfg.RenewDeadline, "leader-elect-renew-deadline", 0, "how long a leader goes on that can't renew (default 1.3s)")
	f.DurationVar(&cfg.RetryPeriod, "leader-elect-retry-period", 0, "time between tries (default 100ms)")
	f.StringVar(&cfg.HealthBindAddress, "health-bind-address", "", "serve /healthz, /livez and /readyz here")
	f.StringVar(&cfg.MetricsBindAddress, "metrics-bind-address", "", "serve /metrics here")
	var port securePort
	port.flags(f, "", 10257)
	signingCert := f.String("cluster-signing-cert-file", "", "certificate of the CA, PEM, that signs certificate requests")
	signingKey := f.String("cluster-signing-key-file", "", "key of the CA, PEM, that signs certificate requests")
	rootCA := f.String("root-ca-file", "", "certificate, PEM, that pods trust the API server by (default: the one in the kubeconfig)")
	accountKey := f.String("service-account-private-key-file", "", "key, PEM, that signs the tokens in Secrets of service accounts")
	f.DurationVar(&cfg.ClusterSigningDuration, "cluster-signing-duration", 0, "the longest that a signed certificate is valid for (default 8760h)")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if cfg.ClusterSigningCert, err = readIfNamed(*signingCert); err != nil {
			return usageError{err}
		}
		if cfg.ClusterSigningKey, err = readIfNamed(*signingKey); err != nil {
			return usageError{err}
		}
		if cfg.RootCA, err = readIfNamed(*rootCA); err != nil {
			return usageError{err}
		}
		if cfg.ServiceAccountKey, err = readIfNamed(*accountKey); err != nil {
			return usageError{err}
		}
		if cfg.REST, err = client(); err != nil {
			return err
		}
		room, err := controllers.New(cfg)
		if err != nil {
			return usageError{err}
		}
		stop, err := port.serve(c.Context(), "kube-controller-manager", cfg.REST, room.Ready(), metrics.Registry)
		if err != nil {
			return err
		}
		defer stop()
		return room.Run(c.Context())
	}
	return c
}

// readIfNamed reads a file; no name is no file.
func readIfNamed(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}

func newScheduler() *cobra.Command {
	c := &cobra.Command{Use: "scheduler", Short: "Run the scheduler against any Kubernetes API server", Args: cobra.NoArgs}
	var cfg scheduler.Config
	f := c.Flags()
	client := clientFlags(f)
	f.BoolVar(&cfg.LeaderElect, "leader-elect", true, "act only while holding the Lease")
	f.StringVar(&cfg.SchedulerName, "scheduler-name", "default-scheduler", "schedule the pods that name it")
	f.IntVar(&cfg.PercentageOfNodesToScore, "percentage-of-nodes-to-score", 0, "how many fitting nodes are enough; 0 adapts to the cluster")
	f.IntVar(&cfg.Parallelism, "parallelism", 0, "nodes looked at at a time; 0: by the number of cores")
	var port securePort
	port.flags(f, "", 10259)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if cfg.REST, err = client(); err != nil {
			return err
		}
		registry := prometheus.NewRegistry()
		cfg.Registerer = registry
		room, err := scheduler.New(cfg)
		if err != nil {
			return usageError{err}
		}
		stop, err := port.serve(c.Context(), "kube-scheduler", cfg.REST, room.Ready(), registry)
		if err != nil {
			return err
		}
		defer stop()
		return room.Run(c.Context())
	}
	return c
}

func newProxy() *cobra.Command {
	c := &cobra.Command{Use: "proxy", Short: "Run the service proxy of one node", Args: cobra.NoArgs}
	var cfg proxier.Config
	var cleanup bool
	f := c.Flags()
	client := clientFlags(f)
	f.StringVar(&cfg.NodeName, "node-name", "", "the node (default: the host's name)")
	proxyModeFlags(f, &cfg)
	f.StringVar(&cfg.ClusterCIDR, "cluster-cidr", "", "network of the pods")
	f.StringSliceVar(&cfg.NodePortAddresses, "nodeport-addresses", nil, "networks whose local addresses serve node ports (default: all)")
	f.StringVar(&cfg.HealthzBindAddress, "healthz-bind-address", proxier.DefaultHealthzBindAddress, "serve /healthz here")
	f.StringVar(&cfg.MetricsBindAddress, "metrics-bind-address", proxier.DefaultMetricsBindAddress, "serve /metrics and /proxyMode here")
	f.DurationVar(&cfg.SyncPeriod, "sync-period", proxier.DefaultSyncPeriod, "how often everything is checked")
	f.DurationVar(&cfg.MinSyncPeriod, "min-sync-period", 0, "least time between two changes of the kernel")
	f.StringVar(&cfg.LoadBalancerPool, "load-balancer-pool", "", "load-balancer addresses that nodes announce: networks and ranges")
	f.BoolVar(&cleanup, "cleanup", false, "remove the rules of earlier runs from the kernel and end")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if cleanup {
			return proxier.Cleanup("", cfg.LoadBalancerPool)
		}
		if cfg.REST, err = client(); err != nil {
			return err
		}
		if cfg.NodeName, err = nodeName(cfg.NodeName); err != nil {
			return err
		}
		room, err := proxier.New(cfg)
		if err != nil {
			return usageError{err}
		}
		return room.Run(c.Context())
	}
	return c
}

// nodeName is the given name, or the host's as kubelet has it.
func nodeName(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("--node-name is not given, and the host has no name: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(host)), nil
}
