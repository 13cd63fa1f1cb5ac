package apiserver

import (
	"context"
	"crypto/ecdsa"
	"net"
	"time"

	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// Version is the Kubernetes version whose behaviour this server has.
const Version = "v1.37.2"

// Config says what to serve and how. Etcd is needed; the rest has defaults.
type Config struct {
	Etcd etcd.Config

	// Listener serves HTTPS with the certificate and key (PEM). Without one
	// the server is reached in-process only.
	Listener               net.Listener
	CertificatePEM, KeyPEM []byte
	ClientCAPEM            []byte // signs client certificates
	TokenFile              string // CSV: token,user,uid[,"groups"]
	AdvertiseAddress       net.IP // where nodes reach this server
	ServiceAccountKey      *ecdsa.PrivateKey
	ServiceAccountIssuer   string // default https://kubernetes.default.svc.cluster.local
	ServiceClusterIPRange  string // default 10.96.0.0/12
	ServiceNodePortRange   string // default 30000-32767
	EventTTL               time.Duration
	MaxRequestsInFlight    int // default 400
	MaxMutatingInFlight    int // default 200
	RequestTimeout         time.Duration
	KubeletCAPEM           []byte // signs agents' serving certificates
	KubeletClientCertPEM   []byte // shown to agents
	KubeletClientKeyPEM    []byte
	// Changes to the default set of admission plugins, by upstream's names.
	EnableAdmissionPlugins, DisableAdmissionPlugins []string
	// DialNode reaches an agent or a pod; nil is TCP. Nodes in this process
	// are reached through memory.
	DialNode func(ctx context.Context, network, address string) (net.Conn, error)
}

func (c *Config) complete() {
	def(&c.ServiceAccountIssuer, "https://kubernetes.default.svc.cluster.local")
	def(&c.ServiceClusterIPRange, "10.96.0.0/12")
	def(&c.ServiceNodePortRange, "30000-32767")
	def(&c.EventTTL, time.Hour)
	def(&c.MaxRequestsInFlight, 400)
	def(&c.MaxMutatingInFlight, 200)
	def(&c.RequestTimeout, time.Minute)
	if c.DialNode == nil {
		c.DialNode = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	if c.AdvertiseAddress == nil {
		c.AdvertiseAddress = net.IPv4(127, 0, 0, 1)
		if c.Listener != nil {
			if a, ok := c.Listener.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
				c.AdvertiseAddress = a.IP
			}
		}
	}
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
