package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/controllers"
	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/proxier"
)

type upOptions struct {
	profile, dataDir, kubeconfig string
	bindAddress                  string
	advertise                    net.IP
	securePort, nodes, networks  int
	masters                      int
	masterArgs                   func() []string
	runtime                      string
	clusterCIDR, serviceCIDR     string
	containerd, binDir           string
	detach                       bool
	verbosity                    int
	apiServer                    apiserver.Config
	controllers                  controllers.Config
	agent                        nodeagent.Config
	proxier                      proxier.Config
	identity, admission          func()
	without, crds                []string
}

func newUp() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a whole cluster on this machine",
		Long: `Run a whole cluster on this machine: API server over etcd, controllers,
scheduler, and a node that runs containers. It runs in the foreground until
Ctrl-C; its data stays, and another 'skiff up' goes on with it.

With --runtime simulated pods run in memory: no root and no containerd needed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.verbosity, err = c.Flags().GetInt("v"); err != nil {
				return err
			}
			if o.detach {
				return o.background(c)
			}
			return o.run(c.Context(), c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVarP(&o.profile, "profile", "p", "default", "name of the cluster")
	f.StringVar(&o.dataDir, "data-dir", "", "where its data is kept (default: a directory of the profile)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig to write instead of kubectl's own")
	f.StringVar(&o.bindAddress, "bind-address", "0.0.0.0", "address that the API is served on")
	f.IPVar(&o.advertise, "advertise-address", nil, "address by which others, pods among them, reach the API server (default: --bind-address, or the machine's)")
	f.IntVar(&o.securePort, "secure-port", 6443, "port that the API is served on; 0 for any free one")
	f.IntVar(&o.nodes, "nodes", 1, "number of nodes; several that run containers have a host each: a network namespace of this machine")
	f.IntVar(&o.masters, "masters", 1, "number of masters; several are a process each, with a port and data of their own, and a host of their own where nodes have one")
	o.masterArgs = func() []string { return append(serverFlags(f), fmt.Sprintf("--v=%d", o.verbosity)) }
	f.IntVar(&o.networks, "node-networks", 1, "number of networks that these hosts are spread over")
	nodeLifecycleFlags(f, &o.controllers)
	f.DurationVar(&o.agent.LeasePeriod, "node-lease-renew-interval", 0, "time between signs of life of a node (default 10s)")
	cniFlags(f, &o.agent)
	f.StringVar(&o.runtime, "runtime", "containerd", "what runs containers: containerd or simulated")
	proxyModeFlags(f, &o.proxier)
	f.StringVar(&o.controllers.LoadBalancerPool, "load-balancer-pool", "", "networks and ranges that services of type LoadBalancer get addresses from (default: the nodes' own addresses)")
	f.StringVar(&o.clusterCIDR, "cluster-cidr", "10.244.0.0/16", "network of the pods, or one of each IP family separated by a comma")
	f.StringVar(&o.serviceCIDR, "service-cluster-ip-range", "10.96.0.0/12", "network of the services, or one of each IP family separated by a comma: the first is a service's that asks for none")
	f.StringVar(&o.apiServer.ServiceNodePortRange, "service-node-port-range", "30000-32767", "ports for services of type NodePort")
	f.StringVar(&o.containerd, "containerd", "", "address of a containerd to use; default: skiff runs its own")
	f.StringVar(&o.binDir, "bin-dir", "", "where containerd and runc are (default: beside skiff)")
	f.StringSliceVar(&o.without, "without", nil, "rooms to leave out, for those who run their own: controllers, scheduler")
	o.identity = identityFlags(f, &o.apiServer)
	o.admission = admissionFlags(f, &o.apiServer)
	platformFlags(f, &o.apiServer)
	f.StringSliceVar(&o.crds, "crds", nil, "files of CustomResourceDefinitions, or directories of them: they are installed, and again whenever they change")
	f.BoolVarP(&o.detach, "detach", "d", false, "run in the background and return when the cluster is ready")
	return c
}

// config checks the flags and turns them into a cluster's configuration.
func (o *upOptions) config(p profile) (cluster.Config, error) {
	bad := func(format string, args ...any) (cluster.Config, error) {
		return cluster.Config{}, usageError{fmt.Errorf(format, args...)}
	}
	bind := net.ParseIP(o.bindAddress)
	switch {
	case bind == nil:
		return bad("--bind-address %q is not an IP address", o.bindAddress)
	case o.securePort < 0 || o.securePort > 65535:
		return bad("--secure-port %d is not a port (0 to 65535)", o.securePort)
	case o.nodes < 1:
		return bad("--nodes %d: a cluster has at least one node", o.nodes)
	case o.masters < 1:
		return bad("--masters %d: a cluster has at least one master", o.masters)
	case o.runtime != "containerd" && o.runtime != "simulated":
		return bad("--runtime %q: there are containerd and simulated", o.runtime)
	case o.proxier.Mode != proxier.ModeAuto && o.proxier.Mode != proxier.ModeIPVS && o.proxier.Mode != proxier.ModeNFTables:
		return bad("--proxy-mode %q: there are ipvs and nftables", o.proxier.Mode)
	case o.networks < 1 || o.networks > o.nodes:
		return bad("--node-networks %d: there is at least one, and at most one for each node", o.networks)
	case o.runtime == "containerd" && o.nodes > 1 && o.containerd != "":
		return bad("--containerd %s: several nodes on one machine have a containerd each", o.containerd)
	case o.runtime == "containerd" && o.nodes > 1 && bind.IsLoopback():
		return bad("--bind-address %s: the hosts of several nodes can't reach it", o.bindAddress)
	case o.runtime == "containerd" && o.nodes > 1 && !cluster.HasHosts(p.dir) && hasNodes(p.dir):
		return bad("--nodes %d: cluster %q was made with one node, which is this machine: 'skiff delete -p %s' first, or choose another --profile", o.nodes, p.name, p.name)
	case o.runtime == "containerd" && os.Geteuid() != 0:
		return cluster.Config{}, errors.New("running containers needs root: run 'sudo skiff up', or 'skiff up --runtime simulated' for pods in memory")
	}
	c := cluster.Config{
		Name: p.name, DataDir: p.dir, Listen: net.JoinHostPort(o.bindAddress, strconv.Itoa(o.securePort)),
		ClusterCIDR: o.clusterCIDR, CRDs: o.crds,
	}
	o.identity()
	o.admission()
	c.APIServer = o.apiServer
	c.APIServer.ServiceClusterIPRange = o.serviceCIDR
	if c.APIServer.AdvertiseAddress = o.advertise; o.advertise == nil {
		c.APIServer.AdvertiseAddress = cluster.AdvertiseAddress(bind, o.serviceCIDR)
	}
	c.APIServer.Authentication.BootstrapTokens = true // others join by them
	c.ApproveServing = true
	c.Controllers = o.controllers
	c.Controllers.LeaderElect, c.Scheduler.LeaderElect = true, true
	for _, r := range o.without {
		c.Without = append(c.Without, cluster.Room(r))
	}
	for range o.nodes {
		c.Nodes = append(c.Nodes, o.node(p, len(c.Nodes)))
	}
	if err := c.Validate(); err != nil {
		return cluster.Config{}, usageError{err}
	}
	return c, nil
}

// hasNodes says whether a cluster's data has nodes.
func hasNodes(dir string) bool {
	nodes, err := os.ReadDir(filepath.Join(dir, "nodes"))
	return err == nil && len(nodes) > 0
}

// node is the configuration of the i-th node.
func (o *upOptions) node(p profile, i int) cluster.Node {
	n := cluster.Node{Simulated: o.runtime == "simulated"}
	n.NodeName = fmt.Sprintf("%s-%d", p.name, i)
	if n.Simulated {
		return n
	}
	n.Config = o.agent
	n.NodeName = fmt.Sprintf("%s-%d", p.name, i)
	n.ContainerdAddress, n.BinDir = o.containerd, o.binDir
	n.Host, n.Network = o.nodes > 1 || cluster.HasHosts(p.dir), i%o.networks
	n.Proxier = o.proxier
	n.DNSMetricsAddress = dns.DefaultMetricsBindAddress
	n.Proxier.LoadBalancerPool = o.controllers.LoadBalancerPool
	n.Proxier.HealthzBindAddress, n.Proxier.MetricsBindAddress = proxier.DefaultHealthzBindAddress, proxier.DefaultMetricsBindAddress
	return n
}

// run runs the cluster in the foreground.
func (o *upOptions) run(ctx context.Context, out io.Writer) error {
	p, err := openProfile(o.profile, o.dataDir)
	if err != nil {
		return err
	}
	config, err := o.config(p)
	if err != nil {
		return err
	}
	release, err := p.lock()
	if err != nil {
		return err
	}
	defer release()
	log, err := os.OpenFile(filepath.Join(p.dir, "skiff.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	setLog(log, o.verbosity)
	begin := time.Now()
	fmt.Fprintf(out, "Starting cluster %q in %s\n", p.name, p.dir)
	config.Progress = func(s cluster.Step) {
		mark := "✓"
		if s.Err != nil {
			mark = "✗"
		}
		fmt.Fprintf(out, " %s %-12s %6d ms\n", mark, s.Name, s.Took.Milliseconds())
	}
	c, stop, err := o.start(ctx, p, config)
	defer stop()
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted while starting")
		}
		if errors.As(err, new(usageError)) {
			return err
		}
		return fmt.Errorf("%w\nThe log is %s", err, log.Name())
	}
	if err := o.announce(c, p, out, time.Since(begin)); err != nil {
		return err
	}
	defer func() { _ = os.Remove(p.runFile()) }()
	if len(o.crds) > 0 {
		d, err := newDefinitions(o.crds, out, c.RESTConfig())
		if err != nil {
			return err
		}
		following, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			d.follow(following)
		}()
		defer func() { end(); <-ended }()
	}
	if err := wait(ctx, c, o.path(), p.context()); err != nil {
		return fmt.Errorf("%w\nThe log is %s", err, log.Name())
	}
	fmt.Fprintln(out, "Stopping. The data stays; 'skiff delete' removes it.")
	return nil
}

// start starts the cluster: a master that is alone in this process, several in
// processes of their own, which this one keeps. stop ends what has started.
func (o *upOptions) start(ctx context.Context, p profile, config cluster.Config) (c *cluster.Cluster, stop func(), err error) {
	stop = func() {}
	m, err := openMasters(p, o.masters, config, o.masterArgs())
	if err != nil {
		return nil, stop, err
	}
	if m.alone() {
		config.APIServer.Etcd.Peers = m.peers()
		if c, err = cluster.Start(ctx, config); err == nil {
			stop = c.Stop
		}
		return c, stop, err
	}
	m.bind, config.Masters = o.bindAddress, m.servers()
	m.args = append(m.args, "--tls-san="+config.APIServer.AdvertiseAddress.String()) // where this process takes connections for them
	stop = m.wait
	if err := step(config, "masters", func() error { return m.begin(ctx) }); err != nil {
		return nil, stop, err
	}
	if c, err = cluster.Start(ctx, config); err != nil {
		return nil, stop, err
	}
	stop = func() {
		c.Stop()
		m.wait()
	}
	return c, stop, step(config, "all masters", func() error { return m.join(ctx, c) })
}

// step is one part of the start.
func step(config cluster.Config, name string, do func() error) error {
	begin := time.Now()
	err := do()
	config.Progress(cluster.Step{Name: name, Took: time.Since(begin), Err: err})
	return err
}

// path is the kubeconfig to write.
func (o *upOptions) path() string {
	if o.kubeconfig != "" {
		return o.kubeconfig
	}
	return kubeconfigPath()
}

// announce writes the kubeconfig and the run file and says what to do next.
func (o *upOptions) announce(c *cluster.Cluster, p profile, out io.Writer, took time.Duration) error {
	path := o.path()
	access, err := writeAccess(c, path, p.context())
	if err != nil {
		return err
	}
	r := run{PID: os.Getpid(), Server: access.Server, Runtime: o.runtime, Started: time.Now(), Ready: true}
	if err := p.write(r); err != nil {
		return err
	}
	fmt.Fprintf(out, "Ready in %d ms: %s, context %q in %s\n", took.Milliseconds(), access.Server, p.context(), path)
	fmt.Fprintf(out, "Try:  kubectl get nodes\n      kubectl create deployment web --image=skiff.dev/hello:v1 --replicas=3\n")
	return nil
}

// background starts the same command without --detach and waits until it is
// ready or has failed.
func (o *upOptions) background(c *cobra.Command) error {
	p, err := openProfile(o.profile, o.dataDir)
	if err != nil {
		return err
	}
	if _, err := o.config(p); err != nil {
		return err
	}
	if r, ok := p.running(); ok {
		return fmt.Errorf("profile %q is running already (process %d)", p.name, r.PID)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	output, err := os.OpenFile(p.dir+".out", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("output of the cluster: %w", err)
	}
	defer func() { _ = output.Close() }()
	args := []string{"up"}
	for _, a := range os.Args[2:] {
		if a != "-d" && a != "--detach" && a != "--detach=true" {
			args = append(args, a)
		}
	}
	child := exec.Command(self, args...)
	child.Env = append(os.Environ(), "SKIFF_DETACH=false")
	child.Stdout, child.Stderr = output, output
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended: //nolint:errcheck // what it said is shown
			said, _ := os.ReadFile(output.Name()) // what is not readable is not shown
			_, _ = c.ErrOrStderr().Write(said)
			return exitError(1)
		case <-c.Context().Done():
			_ = child.Process.Signal(syscall.SIGTERM)
			return errors.New("interrupted while starting")
		case <-tick.C:
			if r, ok := p.running(); ok && r.Ready && r.PID == child.Process.Pid {
				said, _ := os.ReadFile(output.Name())
				_, _ = c.OutOrStdout().Write(said)
				return nil
			}
		}
	}
}
