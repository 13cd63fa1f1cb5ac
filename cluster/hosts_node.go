package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/cluster/pki"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/proxier"
)

// hostedNode is a node on a host of its own, as its process reads it from a
// file. Keys, certificates and kubeconfigs are beside it.
type hostedNode struct {
	Name                        string
	Dir                         string // the node's data
	Address                     string
	CgroupRoot, BinDir          string
	ClusterDomain, ClusterCIDR  string
	Masters                     []string `json:",omitempty"` // beside the one of the kubeconfigs
	DNSAddress                  netip.Addr
	Labels                      map[string]string `json:",omitempty"`
	Taints                      []corev1.Taint    `json:",omitempty"`
	MaxPods                     int               `json:",omitempty"`
	LeasePeriod, SyncPeriod     time.Duration     `json:",omitempty"`
	CNIConfDir, CNIBinDir       string            `json:",omitempty"`
	ProxyMode                   proxier.Mode      `json:",omitempty"`
	LoadBalancerPool            string            `json:",omitempty"`
	IPVSScheduler               string            `json:",omitempty"`
	HealthzAddress, MetricsAddr string            `json:",omitempty"`
}

// users of a node's parts, by the name of their files.
func (n *hostedNode) users() map[string][2]string {
	user, group := nodeUser(n.Name)
	return map[string][2]string{"kubelet": {user, group}, "kube-proxy": {"system:kube-proxy", ""}, "coredns": {"system:coredns", ""}}
}

func (n *hostedNode) file(name string) string { return filepath.Join(n.Dir, "host", name) }

// RunHostedNode is the process of a node on a host of its own. It runs until
// ctx or lifeline ends, which is its cluster's process, and writes a line to
// ready when the node serves.
func RunHostedNode(ctx context.Context, file string, lifeline io.Reader, ready io.Writer) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("configuration of the node: %w", err)
	}
	var n hostedNode
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("configuration of the node %s: %w", file, err)
	}
	if err := setHostname(n.Name); err != nil {
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, lifeline) // whatever ends it
		cancel()
	}()
	// An earlier process of the node may still be on its way out.
	release, err := lockFile(ctx, n.file("lock"))
	if err != nil {
		return err
	}
	defer release()
	w, keep, err := n.worker()
	if err != nil {
		return err
	}
	for _, k := range keep {
		group.Go(func() { k(ctx) })
	}
	return w.Run(ctx, func() { _, _ = io.WriteString(ready, "ready\n") })
}

// lockFile waits until nobody else has the file locked.
func lockFile(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// worker is the node, and what keeps its ways to the masters.
func (n *hostedNode) worker() (w Worker, keep []func(context.Context), err error) {
	configs := map[string]*restclient.Config{}
	for name := range n.users() {
		c, err := clientcmd.BuildConfigFromFlags("", n.file(name+".conf"))
		if err != nil {
			return Worker{}, nil, fmt.Errorf("kubeconfig of %s: %w", name, err)
		}
		c.QPS = -1
		if len(n.Masters) > 0 {
			var k func(context.Context)
			if c, k, err = overMasters(c, n.Masters); err != nil {
				return Worker{}, nil, fmt.Errorf("masters for %s: %w", name, err)
			}
			keep = append(keep, k)
		}
		configs[name] = c
	}
	ca, err := os.ReadFile(n.file("ca.crt"))
	if err != nil {
		return Worker{}, nil, fmt.Errorf("cluster CA: %w", err)
	}
	w = Worker{
		Agent:   n.agent(),
		Proxier: proxier.Config{REST: configs["kube-proxy"], ClusterCIDR: n.ClusterCIDR, Mode: n.ProxyMode, IPVSScheduler: n.IPVSScheduler, LoadBalancerPool: n.LoadBalancerPool, HealthzBindAddress: n.HealthzAddress, MetricsBindAddress: n.MetricsAddr},
		DNS:     configs["coredns"], DNSAddress: n.DNSAddress,
	}
	w.Agent.REST, w.Agent.ClientCA = configs["kubelet"], ca
	// Read at each handshake, which are few: the file is renewed by others.
	w.Agent.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(n.file("serving.crt"), n.file("serving.key"))
		return &c, err
	}
	return w, keep, nil
}

// agent is what is known of the agent without its cluster's process.
func (n *hostedNode) agent() nodeagent.Config {
	cfg := nodeagent.Config{
		NodeName: n.Name, DataDir: n.Dir, NodeIP: n.Address, CgroupRoot: n.CgroupRoot, BinDir: n.BinDir,
		ClusterDomain: n.ClusterDomain, ClusterDNS: []string{n.DNSAddress.String()}, Labels: n.Labels, Taints: n.Taints,
		MaxPods: n.MaxPods, LeasePeriod: n.LeasePeriod, SyncPeriod: n.SyncPeriod, CNIConfDir: n.CNIConfDir, CNIBinDir: n.CNIBinDir,
	}
	cfg.ClusterCIDRs = prefixes(n.ClusterCIDR)
	return cfg
}

// startHosts makes the hosts of all nodes that want one, and starts a process on
// each.
func (c *Cluster) startHosts(ctx context.Context, nodes []Node) error {
	if c.config.DataDir == "" {
		return errors.New("nodes on hosts of their own need a data directory")
	}
	names, networks := make([]string, len(nodes)), make([]int, len(nodes))
	for i, n := range nodes {
		names[i], networks[i] = n.NodeName, n.Network
	}
	plan, err := c.config.makeHosts(names, networks)
	if err != nil {
		return err
	}
	// Processes outside of this one have no way to wait for it.
	select {
	case <-c.serving:
	case <-c.failed:
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.way == nil {
		if err := c.Listen("0.0.0.0:0"); err != nil {
			return err
		}
	}
	if err := c.ensureDNSService(ctx); err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, len(nodes))
	for i := range nodes {
		group.Go(func() { errs[i] = c.startHosted(ctx, nodes[i], &plan) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// makeHosts makes what is missing of the hosts of these names, each on the
// network of its index in networks, and of all that the cluster has had.
func (c *Config) makeHosts(names []string, networks []int) (hostsPlan, error) {
	old, err := readHosts(c.DataDir)
	if err != nil {
		return hostsPlan{}, err
	}
	taken, err := takenNetworks()
	if err != nil {
		return hostsPlan{}, err
	}
	for _, list := range []string{c.ClusterCIDR, c.APIServer.ServiceClusterIPRange} {
		taken = append(taken, prefixes(list)...)
	}
	plan, err := planHosts(old, c.DataDir, names, networks, taken)
	if err != nil {
		return hostsPlan{}, err
	}
	plan.IPv6 = plan.IPv6 || slices.ContainsFunc(prefixes(c.ClusterCIDR), func(p netip.Prefix) bool { return p.Addr().Is6() })
	if err := plan.write(c.DataDir); err != nil {
		return hostsPlan{}, err
	}
	return plan, ensureHosts(c.DataDir, &plan)
}

// startHosted starts a node on its host.
func (c *Cluster) startHosted(ctx context.Context, n Node, plan *hostsPlan) error {
	h := plan.Hosts[n.NodeName]
	dns, err := c.dnsAddress()
	if err != nil {
		return err
	}
	cfg := hostedNode{
		Name: n.NodeName, Dir: c.dir("nodes", n.NodeName), Address: plan.addresses(h, prefixes(c.config.ClusterCIDR)), CgroupRoot: hostCgroup(plan.ID, n.NodeName), BinDir: n.BinDir,
		ClusterDomain: c.config.ClusterDomain, ClusterCIDR: c.config.ClusterCIDR, DNSAddress: dns, Labels: n.Labels, Taints: n.Taints,
		MaxPods: n.MaxPods, LeasePeriod: n.LeasePeriod, SyncPeriod: n.SyncPeriod, CNIConfDir: n.CNIConfDir, CNIBinDir: n.CNIBinDir,
		ProxyMode: n.Proxier.Mode, IPVSScheduler: n.Proxier.IPVSScheduler, LoadBalancerPool: n.Proxier.LoadBalancerPool, HealthzAddress: n.Proxier.HealthzBindAddress, MetricsAddr: n.Proxier.MetricsBindAddress,
	}
	if err := c.writeHosted(&cfg, plan.Networks[h.Network]); err != nil {
		return fmt.Errorf("node %s: %w", n.NodeName, err)
	}
	p := &hostProcess{program: n.Program, config: cfg.file("node.json"), log: cfg.file("node.log"), ns: hostNS(c.config.DataDir, n.NodeName), ready: make(chan struct{})}
	if p.program == "" {
		if p.program, err = os.Executable(); err != nil {
			return fmt.Errorf("find own executable: %w", err)
		}
	}
	return c.run(ctx, "node "+n.NodeName, p)
}

// writeHosted writes all that a node's process reads. Its certificates are
// written again when they are renewed.
func (c *Cluster) writeHosted(n *hostedNode, network netip.Prefix) error {
	if err := os.MkdirAll(filepath.Join(n.Dir, "host"), 0o700); err != nil {
		return err
	}
	servers, err := c.serversOn(network)
	if err != nil {
		return err
	}
	n.Masters = servers[1:]
	keep := func(name string, leaf *pki.Leaf) error {
		write := func() error {
			pair := leaf.Current()
			return errors.Join(replaceFile(n.file(name+".key"), pair.Key), replaceFile(n.file(name+".crt"), pair.Cert))
		}
		leaf.Notify(func() {
			if err := write(); err != nil {
				klog.Background().Error(err, "Writing a node's certificate", "Node", n.Name)
			}
		})
		return write()
	}
	for name, user := range n.users() {
		var groups []string
		if user[1] != "" {
			groups = append(groups, user[1])
		}
		leaf, err := c.pki.Client(name+"-client-"+n.Name, user[0], groups...)
		if err != nil {
			return err
		}
		if err := keep(name, leaf); err != nil {
			return err
		}
		k := clientcmdapi.NewConfig()
		// The server's certificate names no host's network: it is known by name.
		k.Clusters["skiff"] = &clientcmdapi.Cluster{Server: "https://" + servers[0], TLSServerName: "kubernetes", CertificateAuthority: n.file("ca.crt")}
		k.AuthInfos["skiff"] = &clientcmdapi.AuthInfo{ClientCertificate: n.file(name + ".crt"), ClientKey: n.file(name + ".key")}
		k.Contexts["skiff"] = &clientcmdapi.Context{Cluster: "skiff", AuthInfo: "skiff"}
		k.CurrentContext = "skiff"
		raw, err := clientcmd.Write(*k)
		if err != nil {
			return fmt.Errorf("kubeconfig: %w", err)
		}
		if err := replaceFile(n.file(name+".conf"), raw); err != nil {
			return err
		}
	}
	serving := nodeagent.Config{NodeName: n.Name, NodeIP: n.Address}
	leaf, err := c.agentLeaf(&serving)
	if err != nil {
		return err
	}
	if err := keep("serving", leaf); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(n.file("ca.crt"), c.pki.CA()), replaceFile(n.file("node.json"), raw))
}

// serversOn are host:port of the API for hosts on a network.
func (c *Cluster) serversOn(network netip.Prefix) ([]string, error) {
	if c.way != nil {
		return c.config.Masters, nil
	}
	addr, ok := c.listener().Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("the API is served on %s, which is not TCP", c.listener().Addr())
	}
	return []string{net.JoinHostPort(machine(network).String(), strconv.Itoa(addr.Port))}, nil
}

func replaceFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// hostProcess keeps a node's process running on its host.
type hostProcess struct {
	program, config, log, ns string
	ready                    chan struct{}
	once                     sync.Once
}

// Ready implements component.
func (p *hostProcess) Ready() <-chan struct{} { return p.ready }

// Between starts of a process that ends by itself, and how long one that is
// asked to end may take.
const (
	hostRestartDelay = time.Second
	hostStopPatience = 30 * time.Second
)

// Run implements component: like a service manager, it starts the node again
// when it has ended. The first start must succeed.
func (p *hostProcess) Run(ctx context.Context) error {
	for {
		err := p.runOnce(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		select {
		case <-p.ready:
		default:
			return fmt.Errorf("%w; its log %s ends with: %s", err, p.log, lastLine(p.log))
		}
		klog.FromContext(ctx).Info("A node's process ended, starting it again", "reason", err, "log", p.log)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(hostRestartDelay):
		}
	}
}

func lastLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}

func (p *hostProcess) runOnce(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.program, "node", "run", p.config)
	cmd.Stderr = log
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return errors.Join(err, lifeline.Close())
	}
	if err := startOnHost(p.ns, cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.program, errors.Join(err, lifeline.Close()))
	}
	ended := make(chan error, 1)
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if lines.Text() == "ready" {
				p.once.Do(func() { close(p.ready) })
			}
		}
		err := cmd.Wait()
		if err == nil {
			err = errors.New("ended by itself")
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return errors.Join(err, ignoreClosed(lifeline.Close()))
	case <-ctx.Done():
	}
	_ = lifeline.Close() // which tells it to end
	select {
	case <-ended: //nolint:errcheck // it was told to end
	case <-time.After(hostStopPatience):
		_ = cmd.Process.Kill() // it may just have ended
		<-ended                //nolint:errcheck // it was killed
	}
	return ctx.Err()
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// destroyHosts ends all that runs on the hosts of a cluster, and takes them away.
func destroyHosts(ctx context.Context, dir string) error {
	plan, err := readHosts(dir)
	if err != nil || plan.ID == "" {
		return err
	}
	for name := range plan.Hosts {
		raw, err := os.ReadFile((&hostedNode{Dir: filepath.Join(dir, "nodes", name)}).file("node.json"))
		if errors.Is(err, os.ErrNotExist) {
			continue // its start was cut off
		}
		var n hostedNode
		if err == nil {
			err = json.Unmarshal(raw, &n)
		}
		if err == nil {
			err = n.destroy(ctx, hostNS(dir, name))
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return removeHosts(dir, &plan)
}

func (n *hostedNode) destroy(ctx context.Context, ns string) error {
	// A process whose cluster was killed ends within moments.
	waiting, cancel := context.WithTimeout(ctx, hostStopPatience)
	defer cancel()
	release, err := lockFile(waiting, n.file("lock"))
	if err != nil {
		return fmt.Errorf("its process has not ended: %w", err)
	}
	defer release()
	cfg := n.agent()
	cfg.REST = nowhere
	if !isNamespace(ns) {
		return nil // the machine went down: files are left, which go with the rest
	}
	return onHost(ns, func() error { return nodeagent.Destroy(ctx, cfg) })
}
