package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster/balancer"
	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
	"github.com/skiffcluster/skiff/proxier"
)

// AgentConfig says how a machine becomes a node of a cluster that runs.
type AgentConfig struct {
	// Servers are URLs of masters; others are found through them.
	Servers []string
	// Token is needed for the first time only.
	Token Token
	// DataDir keeps the node's certificates, images and pods' files.
	DataDir string
	Node    Node
	// Progress is told of each step of the start.
	Progress func(Step)
}

// Agent is a running node.
type Agent struct {
	*Cluster // what runs its parts; there is no API server in it

	cfg     AgentConfig
	known   membership
	ca      []byte
	servers *balancer.Balancer
	client  certificate.Manager // of the node's own certificate
	serving certificate.Manager // of what it serves its API with
}

// membership is what a node remembers of its cluster, and of itself.
type membership struct {
	Servers []string `json:"servers"`
	Node    string   `json:"node"`
	destruction
	clusterAnswer
}

// agentFile is where.
const agentFile = "cluster.json"

// Joined says whether a node with this data directory knows its cluster.
func Joined(dir string) bool { return exists(filepath.Join(dir, agentFile)) }

// StartAgent makes this machine a node and returns when it is ready.
func StartAgent(ctx context.Context, cfg AgentConfig) (_ *Agent, err error) {
	a := &Agent{cfg: cfg, Cluster: &Cluster{serving: make(chan struct{}), failed: make(chan struct{}), config: Config{Progress: cfg.Progress, DataDir: cfg.DataDir}}}
	close(a.Cluster.serving)
	a.Cluster.ready = time.Now()
	defer func() {
		if err != nil {
			a.Stop()
		}
	}()
	if err := os.MkdirAll(a.dir("pki"), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	release, err := lockAgent(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	a.Cluster.release = append(a.Cluster.release, release)
	if err := a.step("join", func() error { return a.join(ctx) }); err != nil {
		return nil, err
	}
	if err := a.step("certificate", func() error { return a.ask(ctx) }); err != nil {
		return nil, err
	}
	if err := a.step("node", func() error { return a.startNode(ctx) }); err != nil {
		return nil, err
	}
	if cfg.Node.Simulated {
		return a, nil
	}
	return a, a.step("network", func() error { return a.startNetwork(ctx) })
}

// join learns of the cluster: from a master whose CA has the token's hash, or
// from what was learned before.
func (a *Agent) join(ctx context.Context) error {
	err := readJSON(a.dir(agentFile), &a.known)
	if err == nil {
		a.ca, err = os.ReadFile(a.dir("pki", "ca.crt"))
		if err != nil {
			return fmt.Errorf("the cluster's CA: %w", err)
		}
		if a.cfg.Token != (Token{}) {
			if hash, err := CAHash(a.ca); err != nil || hash != a.cfg.Token.Hash {
				return fmt.Errorf("data directory %s is of a node of another cluster than the token: choose another with --data-dir", a.cfg.DataDir)
			}
		}
		if was := a.known.Node; was != "" && was != a.cfg.Node.NodeName {
			return fmt.Errorf("data directory %s is of node %s: choose another with --data-dir, or --node-name %s", a.cfg.DataDir, was, was)
		}
		return a.remember(a.known.Servers)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what is known of the cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	p, err := anyOf(a.cfg.Servers, a.cfg.Token, func(p *pinned) error {
		return p.do(ctx, http.MethodGet, ClusterPath+"?version="+url.QueryEscape(a.version()), nil, &a.known.clusterAnswer)
	})
	if err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	a.ca = p.ca
	if err := writeWhole(a.dir("pki", "ca.crt"), a.ca); err != nil {
		return fmt.Errorf("the cluster's CA: %w", err)
	}
	return a.remember(a.cfg.Servers)
}

// version is Kubernetes' that the node behaves as.
func (a *Agent) version() string {
	if v := a.cfg.Node.Version; v != "" {
		return v
	}
	return apiserver.Version
}

// fits asks whether the cluster still takes a node of this version: either may
// have been upgraded. Without an answer the node goes on: its pods run.
func (a *Agent) fits(ctx context.Context, own kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	code := 0
	raw, err := own.Discovery().RESTClient().Get().AbsPath(ClusterPath).Param("version", a.version()).Do(ctx).StatusCode(&code).Raw()
	if err != nil && code == http.StatusBadRequest {
		return errors.New(strings.TrimSpace(string(raw)))
	}
	return nil
}

func (a *Agent) remember(servers []string) error {
	a.known.Servers, a.known.Node = servers, a.cfg.Node.NodeName
	a.known.destruction = destructionOf(&a.cfg.Node)
	raw, err := json.MarshalIndent(a.known, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(a.dir(agentFile), raw); err != nil {
		return fmt.Errorf("remember the cluster: %w", err)
	}
	return nil
}

// ask gets the node's own certificate, with the token for the first, and keeps
// it from ending.
func (a *Agent) ask(ctx context.Context) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.ca)
	trust := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	servers := append(append([]string(nil), a.known.Servers...), a.cfg.Servers...)
	strangers, err := balancer.New(servers, trust)
	if err != nil {
		return err
	}
	defer strangers.Reconnect()
	bootstrap, err := kubernetes.NewForConfig(strangers.RESTConfig(a.cfg.Token.Bearer()))
	if err != nil {
		return err
	}
	trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c := a.client.Current(); c != nil {
			return c, nil
		}
		return &tls.Certificate{}, nil
	}
	if a.servers, err = balancer.New(servers, trust); err != nil {
		return err
	}
	own, err := kubernetes.NewForConfig(a.servers.RESTConfig(""))
	if err != nil {
		return err
	}
	name, group := nodeUser(a.cfg.Node.NodeName)
	subject := pkix.Name{CommonName: name, Organization: []string{group}}
	a.client, err = a.manager("client", certificate.Config{
		SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
		Template:   &x509.CertificateRequest{Subject: subject},
		Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		ClientsetFn: func(current *tls.Certificate) (kubernetes.Interface, error) {
			if current != nil {
				return own, nil
			}
			if a.cfg.Token == (Token{}) {
				return nil, errors.New("the node has no certificate that is good: it needs a token once more (skiff token create)")
			}
			return bootstrap, nil
		},
	})
	if err != nil {
		return err
	}
	if a.client.Current() == nil && a.cfg.Token == (Token{}) {
		return fmt.Errorf("the certificate of node %s has expired or is lost: join again with a --token ('skiff token create')", a.cfg.Node.NodeName)
	}
	tell := func(servers []string) {
		if err := a.remember(servers); err != nil {
			klog.Background().Error(err, "Masters are not remembered")
		}
	}
	if err := a.run(ctx, "certificates", &managed{a.client, a.servers.Reconnect}); err != nil {
		return err
	}
	if err := a.haveCertificate(ctx); err != nil {
		return err
	}
	if err := a.fits(ctx, own); err != nil {
		return err
	}
	return a.run(ctx, "masters", background{func(ctx context.Context) error {
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() { a.servers.Run(ctx) })
		return a.servers.Follow(ctx, own, tell)
	}})
}

// manager makes one that keeps its certificate in the data directory.
func (a *Agent) manager(name string, c certificate.Config) (certificate.Manager, error) {
	store, err := certificate.NewFileStore(name, a.dir("pki"), a.dir("pki"), "", "")
	if err != nil {
		return nil, fmt.Errorf("%s certificate of the node: %w", name, err)
	}
	c.CertificateStore, c.Name = store, name
	m, err := certificate.NewManager(&c)
	if err != nil {
		return nil, fmt.Errorf("%s certificate of the node: %w", name, err)
	}
	return m, nil
}

// haveCertificate waits for the first one.
func (a *Agent) haveCertificate(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for a.client.Current() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("certificate of node %s: %w: is the token good, and does a master run the controllers?", a.cfg.Node.NodeName, context.Cause(ctx))
		}
	}
	return nil
}

// managed is a certificate's manager as a component.
type managed struct {
	certificate.Manager
	renewed func()
}

// Ready implements component.
func (managed) Ready() <-chan struct{} { return always }

// Run implements component. Connections with a certificate that was replaced
// end, since they would go on until that has expired.
func (m *managed) Run(ctx context.Context) error {
	m.Start()
	defer m.Stop()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	last := m.Current()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if now := m.Current(); now != last && now != nil {
				if last != nil {
					m.renewed()
				}
				last = now
			}
		}
	}
}

// background is a function as a component.
type background struct {
	run func(context.Context) error
}

// Ready implements component.
func (background) Ready() <-chan struct{} { return always }

// Run implements component.
func (b background) Run(ctx context.Context) error { return b.run(ctx) }

func (a *Agent) startNode(ctx context.Context) error {
	cfg := a.cfg.Node.Config
	cfg.REST = a.servers.RESTConfig("")
	cfg.ClusterDomain, cfg.ClusterDNS, cfg.ClientCA = a.known.ClusterDomain, []string{a.known.ClusterDNS}, a.ca
	cfg.ClusterCIDRs = prefixes(a.known.ClusterCIDR)
	if cfg.NodeIP == "" {
		var err error
		if cfg.NodeIP, err = NodeAddresses(a.known.ClusterCIDR); err != nil {
			return fmt.Errorf("node %s: %w", cfg.NodeName, err)
		}
	}
	if a.cfg.Node.Simulated {
		cfg.Runtime = simulated.New(clock.RealClock{})
	} else {
		cfg.DataDir = a.dir(agentData)
	}
	if cfg.Port < 0 && cfg.Listener == nil {
		ip, _, _ := strings.Cut(cfg.NodeIP, ",")
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			return fmt.Errorf("node %s: listen: %w", cfg.NodeName, err)
		}
		cfg.Listener = l
	}
	if err := a.serve(ctx, &cfg); err != nil {
		return err
	}
	agent, err := nodeagent.New(cfg)
	if err != nil {
		return err
	}
	return a.run(ctx, "node "+cfg.NodeName, agent)
}

// serve gives the agent what it serves its API with: a certificate for its name
// and address, which masters approve once they know the Node.
func (a *Agent) serve(ctx context.Context, cfg *nodeagent.Config) error {
	own, err := kubernetes.NewForConfig(a.servers.RESTConfig(""))
	if err != nil {
		return err
	}
	name, _ := nodeUser(cfg.NodeName)
	var addresses []net.IP
	for ip := range strings.SplitSeq(cfg.NodeIP, ",") {
		addresses = append(addresses, net.ParseIP(ip))
	}
	a.serving, err = a.manager("serving", certificate.Config{
		SignerName: certificatesv1.KubeletServingSignerName,
		Template: &x509.CertificateRequest{
			Subject:  pkix.Name{CommonName: name, Organization: []string{user.NodesGroup}},
			DNSNames: []string{cfg.NodeName}, IPAddresses: addresses,
		},
		Usages:      []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
		ClientsetFn: func(*tls.Certificate) (kubernetes.Interface, error) { return own, nil },
	})
	if err != nil {
		return err
	}
	cfg.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := a.serving.Current(); c != nil {
			return c, nil
		}
		return nil, errors.New("no serving certificate available for the kubelet")
	}
	return a.run(ctx, "serving certificate", &managed{a.serving, func() {}})
}

// startNetwork carries services and answers names.
func (a *Agent) startNetwork(ctx context.Context) error {
	p := a.cfg.Node.Proxier
	p.REST, p.NodeName, p.ClusterCIDR = a.servers.RESTConfig(""), a.cfg.Node.NodeName, a.known.ClusterCIDR
	carrier, err := proxier.New(p)
	if err != nil {
		return err
	}
	if err := a.run(ctx, "proxier", carrier); err != nil {
		return err
	}
	ip, err := netip.ParseAddr(a.known.ClusterDNS)
	if err != nil {
		return fmt.Errorf("cluster DNS address: %w", err)
	}
	release, err := dns.BindAddress("", ip)
	if err != nil {
		return fmt.Errorf("cluster DNS address: %w", err)
	}
	names, err := dns.New(dns.Config{
		REST: a.servers.RESTConfig(""), ListenAddresses: []string{netip.AddrPortFrom(ip, 53).String()}, ClusterDomain: a.known.ClusterDomain,
	})
	if err != nil {
		return errors.Join(err, release())
	}
	return a.run(ctx, "dns", released{names, release})
}
