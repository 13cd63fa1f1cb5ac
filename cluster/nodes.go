package cluster

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/cluster/pki"
	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
	"github.com/skiffcluster/skiff/proxier"
)

// Node is one node of the cluster, on this machine.
type Node struct {
	nodeagent.Config
	// Simulated runs the pods in memory: neither root nor containerd is
	// needed, and there is no network.
	Simulated bool
	// Proxier serves the services on a node that is not simulated.
	Proxier proxier.Config
	// DNSMetricsAddress serves the metrics of the node's DNS; empty for none.
	DNSMetricsAddress string
	// Host gives the node a host of its own on this machine: a network namespace
	// and a process of Program, which is skiff and by default this process's
	// executable. Nodes of one Network, counted from 0, are on one link with each
	// other; the machine routes between networks.
	Host    bool
	Network int
	Program string
}

// startNodes starts every node and waits until each is registered.
func (c *Cluster) startNodes(ctx context.Context) error {
	var group sync.WaitGroup
	errs := make([]error, len(c.config.Nodes))
	real := false
	var hosted []Node
	for i := range c.config.Nodes {
		n := c.config.Nodes[i]
		if n.NodeName == "" {
			n.NodeName = fmt.Sprintf("%s-%d", c.config.Name, i)
		}
		if n.Host {
			hosted = append(hosted, n)
			continue
		}
		real = real || !n.Simulated
		group.Go(func() { errs[i] = c.startNode(ctx, n) })
	}
	var hostsErr, rightsErr error
	if len(hosted) > 0 {
		group.Go(func() { hostsErr = c.startHosts(ctx, hosted) })
	}
	if len(hosted) > 0 || real {
		group.Go(func() {
			var k *kubernetes.Clientset
			if k, rightsErr = kubernetes.NewForConfig(c.RESTConfig()); rightsErr == nil {
				rightsErr = ensurePodNetworkRole(ctx, k)
			}
		})
	}
	group.Wait()
	if err := errors.Join(append(errs, hostsErr, rightsErr)...); err != nil || !real {
		return err
	}
	return c.startNetwork(ctx)
}

// nodeUser is who a node's agent is
// (https://kubernetes.io/docs/reference/access-authn-authz/node/).
func nodeUser(name string) (user, group string) { return "system:node:" + name, "system:nodes" }

func (c *Cluster) startNode(ctx context.Context, n Node) error {
	cfg := n.Config
	user, group := nodeUser(cfg.NodeName)
	cfg.REST = c.As(user, group)
	cfg.ClusterDomain = c.config.ClusterDomain
	cfg.ClientCA = c.pki.CA()
	if n.Simulated {
		cfg.Runtime, cfg.HealthPort = simulated.New(clock.RealClock{}), -2
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("node %s: listen: %w", cfg.NodeName, err)
		}
		cfg.Listener, cfg.NodeIP = l, "127.0.0.1"
	} else {
		cfg.DataDir = c.dir("nodes", cfg.NodeName)
		if cfg.NodeIP == "" {
			var err error
			if cfg.NodeIP, err = NodeAddresses(c.config.ClusterCIDR); err != nil {
				return fmt.Errorf("node %s: %w", cfg.NodeName, err)
			}
		}
		ip, err := c.dnsAddress()
		if err != nil {
			return err
		}
		cfg.ClusterDNS = []string{ip.String()}
		cfg.ClusterCIDRs = prefixes(c.config.ClusterCIDR)
		if err := destructionOf(&n).write(cfg.DataDir); err != nil {
			return fmt.Errorf("node %s: %w", cfg.NodeName, err)
		}
	}
	if err := c.agentCertificate(&cfg); err != nil {
		return err
	}
	agent, err := nodeagent.New(cfg)
	if err != nil {
		return err
	}
	return c.run(ctx, "node "+cfg.NodeName, agent)
}

// agentCertificate gives an agent what it serves its API with.
func (c *Cluster) agentCertificate(cfg *nodeagent.Config) error {
	leaf, err := c.agentLeaf(cfg)
	if err != nil {
		return err
	}
	cfg.Certificate = leaf.ServerCertificate
	return nil
}

func (c *Cluster) agentLeaf(cfg *nodeagent.Config) (*pki.Leaf, error) {
	user, group := nodeUser(cfg.NodeName)
	hosts := []string{cfg.NodeName, "127.0.0.1"}
	if cfg.NodeIP != "" && cfg.NodeIP != "127.0.0.1" {
		hosts = append(hosts, strings.Split(cfg.NodeIP, ",")...)
	}
	return c.pki.Serving("kubelet-"+cfg.NodeName, pkix.Name{CommonName: user, Organization: []string{group}}, hosts...)
}

// startNetwork starts what carries services on this machine: rules in the
// kernel and names.
func (c *Cluster) startNetwork(ctx context.Context) error {
	if err := c.ensureDNSService(ctx); err != nil {
		return err
	}
	for i, n := range c.config.Nodes {
		if n.Simulated || n.Host {
			continue
		}
		name := n.NodeName
		if name == "" {
			name = fmt.Sprintf("%s-%d", c.config.Name, i)
		}
		if err := c.startProxier(ctx, name, n.Proxier); err != nil {
			return err
		}
		return c.startDNS(ctx, n.DNSMetricsAddress) // one host, one of each
	}
	return nil
}

func (c *Cluster) startProxier(ctx context.Context, node string, cfg proxier.Config) error {
	cfg.REST = c.As("system:kube-proxy")
	cfg.NodeName, cfg.ClusterCIDR = node, c.config.ClusterCIDR
	room, err := proxier.New(cfg)
	if err != nil {
		return err
	}
	return c.run(ctx, "proxier", room)
}

// startDNS answers on the cluster DNS address, which is this node's own: no
// query leaves the machine on its way to the server.
func (c *Cluster) startDNS(ctx context.Context, metrics string) error {
	ip, err := c.dnsAddress()
	if err != nil {
		return err
	}
	release, err := dns.BindAddress("", ip)
	if err != nil {
		return fmt.Errorf("cluster DNS address: %w", err)
	}
	room, err := dns.New(dns.Config{
		REST: c.As("system:coredns"), ListenAddresses: []string{netip.AddrPortFrom(ip, 53).String()}, ClusterDomain: c.config.ClusterDomain,
		MetricsBindAddress: metrics,
	})
	if err != nil {
		return errors.Join(err, release())
	}
	return c.run(ctx, "dns", released{room, release})
}

// released gives something back when a component has ended.
type released struct {
	component
	release func() error
}

func (r released) Run(ctx context.Context) error {
	return errors.Join(r.component.Run(ctx), r.release())
}

// dnsAddress is the tenth of the service range, as every installer has it.
func (c *Cluster) dnsAddress() (netip.Addr, error) {
	prefix, err := first("service-cluster-ip-range", c.config.APIServer.ServiceClusterIPRange)
	if err != nil {
		return netip.Addr{}, err
	}
	ip := prefix.Addr()
	for range 10 {
		ip = ip.Next()
	}
	if !prefix.Contains(ip) {
		return netip.Addr{}, fmt.Errorf("service-cluster-ip-range %s has no tenth address for the cluster's DNS", prefix)
	}
	return ip, nil
}

// dnsService is the name that every installer gives it.
const dnsService = "kube-dns"

// ensureDNSService reserves the DNS address and shows it to people. No proxy
// carries it, which the label tells them all: each node answers itself.
func (c *Cluster) ensureDNSService(ctx context.Context) error {
	ip, err := c.dnsAddress()
	if err != nil {
		return err
	}
	k, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return err
	}
	services := k.CoreV1().Services(metav1.NamespaceSystem)
	// To create it again would fail on its address, not on its name.
	if found, err := dnsServiceThere(ctx, services); found || err != nil {
		return err
	}
	_, err = services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: dnsService,
			Labels: map[string]string{
				"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
				"service.kubernetes.io/service-proxy-name": "skiff-dns",
			},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip.String(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(53)},
			},
		},
	}, metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	// Somebody else who does it at this moment, for another agent that joins, has
	// its address before it is there.
	there := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, dnsServiceWait, true, func(ctx context.Context) (bool, error) {
		return dnsServiceThere(ctx, services)
	})
	if there == nil {
		return nil
	}
	return fmt.Errorf("service of the cluster's DNS: %w", err)
}

// dnsServiceWait is for how long somebody else may take to create the service.
const dnsServiceWait = 5 * time.Second

func dnsServiceThere(ctx context.Context, services typedcorev1.ServiceInterface) (bool, error) {
	_, err := services.Get(ctx, dnsService, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("service of the cluster's DNS: %w", err)
	}
	return err == nil, nil
}
