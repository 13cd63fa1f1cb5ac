package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/httpstream"
	httpstreamspdy "k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/transport/spdy"
)

// The API server asks pods: webhooks, extension servers, the proxies of pods
// and services. It has a way to them where a node of this process is this
// machine itself. Elsewhere it goes by the node's agent, as port-forward does:
//
//	API server ── TLS ── agent of the pod's node ── the pod's network namespace
//
// which needs no more than what logs and exec need.

// dialPods is how the API server reaches pods; nil: directly.
func (c *Cluster) dialPods(certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) func(context.Context, string, string) (net.Conn, error) {
	if !slices.Contains(c.config.Without, Nodes) && slices.ContainsFunc(c.config.Nodes, func(n Node) bool { return !n.Simulated && !n.Host }) {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.pki.CA())
	r := &reach{
		direct: &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second},
		pods:   prefixes(c.config.ClusterCIDR),
		client: func() (kubernetes.Interface, error) { return kubernetes.NewForConfig(c.RESTConfig()) },
		tls:    &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, GetClientCertificate: certificate},
	}
	return r.dial
}

// reach connects to pods by way of their nodes' agents, and to all others
// directly.
type reach struct {
	direct *net.Dialer
	pods   []netip.Prefix
	client func() (kubernetes.Interface, error)
	tls    *tls.Config
}

func (r *reach) dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !slices.ContainsFunc(r.pods, func(p netip.Prefix) bool { return p.Contains(to.Addr()) }) {
		return r.direct.DialContext(ctx, network, address)
	}
	pod, agent, err := r.find(ctx, to.Addr())
	if err != nil {
		return nil, fmt.Errorf("dial pod at %s: %w", to, err)
	}
	if pod == nil {
		return r.direct.DialContext(ctx, network, address)
	}
	conn, err := r.forward(ctx, pod, agent, to)
	if err != nil {
		return nil, fmt.Errorf("dial pod %s/%s at %s by the agent of node %s: %w", pod.Namespace, pod.Name, to, pod.Spec.NodeName, err)
	}
	return conn, nil
}

// find gives the pod with an address, and where its node's agent listens; nil
// where it is of no node's.
func (r *reach) find(ctx context.Context, ip netip.Addr) (*corev1.Pod, string, error) {
	k, err := r.client()
	if err != nil {
		return nil, "", err
	}
	// Memory answers first, which may not have heard of a pod that has just
	// begun: then what is stored.
	pod, agent, err := findIn(ctx, k, ip, metav1.ListOptions{ResourceVersion: "0"})
	if pod == nil {
		pod, agent, err = findIn(ctx, k, ip, metav1.ListOptions{})
	}
	return pod, agent, err
}

func findIn(ctx context.Context, k kubernetes.Interface, ip netip.Addr, from metav1.ListOptions) (*corev1.Pod, string, error) {
	nodes, err := k.CoreV1().Nodes().List(ctx, from)
	if err != nil {
		return nil, "", err
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if !slices.ContainsFunc(n.Spec.PodCIDRs, func(text string) bool {
			p, err := netip.ParsePrefix(text)
			return err == nil && p.Contains(ip)
		}) {
			continue
		}
		from.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", n.Name).String()
		pods, err := k.CoreV1().Pods(metav1.NamespaceAll).List(ctx, from)
		if err != nil {
			return nil, "", err
		}
		for j := range pods.Items {
			p := &pods.Items[j]
			ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			if !ended && slices.Contains(p.Status.PodIPs, corev1.PodIP{IP: ip.String()}) {
				return p, agentOf(n), nil
			}
		}
		return nil, "", fmt.Errorf("no pod of node %s has that address", n.Name)
	}
	return nil, "", nil
}

func agentOf(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return net.JoinHostPort(a.Address, strconv.Itoa(int(n.Status.DaemonEndpoints.KubeletEndpoint.Port)))
		}
	}
	return ""
}

// portForwardProtocol is what agents and kubectl speak
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming).
const portForwardProtocol = "portforward.k8s.io"

func (r *reach) forward(ctx context.Context, pod *corev1.Pod, agent string, to netip.AddrPort) (net.Conn, error) {
	transport, err := httpstreamspdy.NewRoundTripperWithConfig(httpstreamspdy.RoundTripperConfig{TLS: r.tls.Clone(), PingPeriod: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "https", Host: agent, Path: "/portForward/" + pod.Namespace + "/" + pod.Name}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return nil, err
	}
	streams, _, err := spdy.Negotiate(transport, &http.Client{Transport: transport}, req, portForwardProtocol)
	if err != nil {
		return nil, err
	}
	c := &podConn{streams: streams, to: net.TCPAddrFromAddrPort(to), failed: make(chan error, 1)}
	header := http.Header{}
	header.Set(corev1.PortHeader, strconv.Itoa(int(to.Port())))
	header.Set(corev1.PortForwardRequestIDHeader, "0") // the only one on its connection
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	says, err := streams.CreateStream(header)
	if err == nil {
		_ = says.Close() // nothing is written to it
		header.Set(corev1.StreamType, corev1.StreamTypeData)
		c.data, err = streams.CreateStream(header)
	}
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	go func() {
		said, err := io.ReadAll(says)
		if err == nil && len(said) > 0 {
			err = errors.New(string(said))
		}
		c.failed <- err
	}()
	return c, nil
}

// podConn is one connection to a port of a pod. It has no deadlines: who is
// tired of waiting closes it.
type podConn struct {
	streams httpstream.Connection
	data    httpstream.Stream
	to      net.Addr
	failed  chan error // one, when the agent has ended the connection
}

// Read implements net.Conn. A connection that the pod refuses shows itself here.
func (c *podConn) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	select {
	case why := <-c.failed:
		c.failed <- why
		if why != nil {
			return 0, why
		}
	case <-c.streams.CloseChan():
	}
	return 0, io.EOF
}

func (c *podConn) Write(p []byte) (int, error) { return c.data.Write(p) }

// Close implements net.Conn.
func (c *podConn) Close() error {
	_ = c.data.Reset() // what was not sent is not sent
	return c.streams.Close()
}

func (c *podConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *podConn) RemoteAddr() net.Addr             { return c.to }
func (c *podConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *podConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *podConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
