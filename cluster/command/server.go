package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/skiffcluster/skiff/cluster"
)

func newServer() *cobra.Command {
	c := &cobra.Command{
		Use: "server", Short: "Run an API server with its controllers and scheduler", Args: cobra.NoArgs,
		Long: `Run an API server over etcd with its controllers and scheduler, and no node.
The administrator's kubeconfig is written below the data directory.`,
	}
	var name, dir, bind, kubeconfig string
	var port int
	var without []string
	cfg := cluster.Config{}
	c.SetFlagErrorFunc(explainUnserved)
	f := c.Flags()
	f.StringVarP(&name, "profile", "p", "default", "name of the cluster")
	f.StringVar(&dir, "data-dir", "", "where its data is kept (default: a directory of the profile)")
	f.StringVar(&kubeconfig, "kubeconfig", "", "administrator's kubeconfig to write (default: admin.conf in the data directory)")
	f.StringVar(&bind, "bind-address", "0.0.0.0", "address that the API is served on")
	f.IntVar(&port, "secure-port", 6443, "port that the API is served on; 0 for any free one")
	f.IPVar(&cfg.APIServer.AdvertiseAddress, "advertise-address", nil, "address by which others reach this server (default: --bind-address, or the machine's)")
	f.StringSliceVar(&cfg.ServerNames, "tls-san", nil, "further names and addresses of the server for its certificate")
	f.StringSliceVar(&cfg.APIServer.Etcd.Servers, "etcd-servers", nil, "URLs of an etcd that runs elsewhere (default: one in this process)")
	f.StringVar(&cfg.APIServer.Etcd.Prefix, "etcd-prefix", "/registry", "what the keys of all data in etcd begin with")
	f.StringVar(&cfg.APIServer.Etcd.CAFile, "etcd-cafile", "", "CA of --etcd-servers")
	f.StringVar(&cfg.APIServer.Etcd.CertFile, "etcd-certfile", "", "client certificate for --etcd-servers")
	f.StringVar(&cfg.APIServer.Etcd.KeyFile, "etcd-keyfile", "", "key of --etcd-certfile")
	identity := identityFlags(f, &cfg.APIServer)
	platformFlags(f, &cfg.APIServer)
	f.StringVar(&cfg.APIServer.ServiceClusterIPRange, "service-cluster-ip-range", "10.96.0.0/12", "network of the services, or one of each IP family separated by a comma: the first is a service's that asks for none")
	f.StringVar(&cfg.APIServer.ServiceNodePortRange, "service-node-port-range", "30000-32767", "ports for services of type NodePort")
	f.DurationVar(&cfg.APIServer.EventTTL, "event-ttl", 0, "how long events are kept (default 1h)")
	f.DurationVar(&cfg.APIServer.RequestTimeout, "request-timeout", time.Minute, "how long a request may take, but for watches and the like")
	f.IntVar(&cfg.APIServer.MaxRequestsInFlight, "max-requests-inflight", 400, "reading requests served at a time")
	f.IntVar(&cfg.APIServer.MaxMutatingInFlight, "max-mutating-requests-inflight", 200, "writing requests served at a time")
	admission := admissionFlags(f, &cfg.APIServer)
	f.StringVar(&cfg.ClusterCIDR, "cluster-cidr", "10.244.0.0/16", "network of the pods, or one of each IP family separated by a comma")
	f.StringVar(&cfg.Controllers.LoadBalancerPool, "load-balancer-pool", "", "networks and ranges that services of type LoadBalancer get addresses from (default: the nodes' own addresses)")
	controllerFlags(f, &cfg.Controllers)
	allocate := f.Bool("allocate-node-cidrs", true, "give nodes parts of --cluster-cidr")
	nodeLifecycleFlags(f, &cfg.Controllers)
	web, process := webFlags(f, &cfg.APIServer), processFlags(f)
	f.StringSliceVar(&without, "without", nil, "rooms to leave out: controllers, scheduler")
	var controllersPort, schedulerPort securePort
	controllersPort.flags(f, "controllers", 10257)
	schedulerPort.flags(f, "scheduler", 10259)
	master := masterFlags(f, &cfg)
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, err := openProfile(name, dir)
		if err != nil {
			return err
		}
		ip := net.ParseIP(bind)
		if ip == nil {
			return usageError{fmt.Errorf("--bind-address %q is not an IP address", bind)}
		}
		cfg.Name, cfg.DataDir, cfg.Listen = p.name, p.dir, net.JoinHostPort(bind, strconv.Itoa(port))
		if cfg.APIServer.AdvertiseAddress == nil {
			cfg.APIServer.AdvertiseAddress = cluster.AdvertiseAddress(ip, cfg.APIServer.ServiceClusterIPRange)
		}
		cfg.Without = []cluster.Room{cluster.Nodes}
		for _, r := range without {
			cfg.Without = append(cfg.Without, cluster.Room(r))
		}
		if !*allocate {
			cfg.Controllers.ClusterCIDR = cfg.ClusterCIDR // else the cluster fills it in, and has it allocated
		}
		identity()
		admission()
		if err := errors.Join(web(), process()); err != nil {
			return usageError{err}
		}
		if err := master(); err != nil {
			return err
		}
		if !c.Flags().Changed("enable-bootstrap-token-auth") {
			cfg.APIServer.Authentication.BootstrapTokens = true // others join by them
		}
		cfg.ApproveServing = true
		cfg.Controllers.LeaderElect, cfg.Scheduler.LeaderElect = true, true
		if err := cfg.Validate(); err != nil {
			return usageError{err}
		}
		schedulerMetrics := prometheus.NewRegistry()
		if schedulerPort.port != 0 {
			cfg.Scheduler.Registerer = schedulerMetrics
		}
		release, err := p.lock()
		if err != nil {
			return err
		}
		defer release()
		running, err := cluster.Start(c.Context(), cfg)
		if err != nil {
			return err
		}
		defer running.Stop()
		ready := make(chan struct{})
		close(ready) // a cluster that has started is
		for _, r := range []struct {
			name    string
			port    *securePort
			metrics prometheus.Gatherer
		}{{"kube-controller-manager", &controllersPort, metrics.Registry}, {"kube-scheduler", &schedulerPort, schedulerMetrics}} {
			stop, err := r.port.serve(c.Context(), r.name, running.RESTConfig(), ready, r.metrics)
			if err != nil {
				return err
			}
			defer stop()
		}
		path := kubeconfig
		if path == "" {
			path = p.dir + "/admin.conf"
		}
		access, err := writeAccess(running, path, p.context())
		if err != nil {
			return err
		}
		if err := p.write(run{PID: os.Getpid(), Server: access.Server, Runtime: "none", Ready: true}); err != nil {
			return err
		}
		defer func() { _ = os.Remove(p.runFile()) }()
		fmt.Fprintf(c.OutOrStdout(), "Serving %s, kubeconfig %s\n", access.Server, path)
		return wait(c.Context(), running, path, p.context())
	}
	return c
}

// writeAccess writes the administrator's kubeconfig.
func writeAccess(c *cluster.Cluster, path, context string) (cluster.Access, error) {
	access, err := c.Access()
	if err != nil {
		return access, err
	}
	return access, writeKubeconfig(path, context, access)
}

// wait returns when ctx ends, or with the reason when the cluster can't go on.
// Meanwhile it keeps the kubeconfig good.
func wait(ctx context.Context, c *cluster.Cluster, path, kubeContext string) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Failed():
			return c.Err()
		case <-c.AccessChanged():
			if _, err := writeAccess(c, path, kubeContext); err != nil {
				klog.FromContext(ctx).Error(err, "Kubeconfig is not written with the new certificate", "path", path)
			}
		}
	}
}
