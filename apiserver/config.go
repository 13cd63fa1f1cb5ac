package apiserver

import (
	"context"
	"crypto"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/skiffcluster/skiff/apiserver/audit"
	"github.com/skiffcluster/skiff/apiserver/auth"
	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// Version is the Kubernetes version whose behaviour this server has.
const Version = "v1.37.2"

// Config says what to serve and how. Etcd is needed; the rest has defaults.
type Config struct {
	Etcd etcd.Config

	// Listener serves HTTPS with Serving, or the certificate and key of the
	// files if given. Without one the server is reached in-process only.
	Listener                net.Listener
	Serving                 dynamiccertificates.CertKeyContentProvider
	TLSCertFile, TLSKeyFile string
	TLS                     TLS
	ClientCAPEM             []byte // signs client certificates
	// Authentication and Authorization are what an administrator may add and
	// choose; Audit, nil for none, what is written down of requests.
	Authentication        auth.Methods
	Authorization         auth.Authorization
	Audit                 *audit.Options
	Web                   Web
	AdvertiseAddress      net.IP // where nodes reach this server
	ServiceAccounts       ServiceAccounts
	ServiceClusterIPRange string // default 10.96.0.0/12
	ServiceNodePortRange  string // default 30000-32767
	EventTTL              time.Duration
	MaxRequestsInFlight   int // default 400
	MaxMutatingInFlight   int // default 200
	// NoPriorityAndFairness limits requests by these two figures alone.
	NoPriorityAndFairness bool
	// RuntimeConfig switches versions of kinds, as --runtime-config of
	// kube-apiserver: "batch/v1" or "api/beta" to "true" or "false".
	RuntimeConfig cliflag.ConfigurationMap
	// ProxyClientCertificate, PEM, is shown to extension servers, or that of
	// the files if given; ProxyCAPEM signs it. Its name is ProxyClientName.
	ProxyClientCertificate                  func() (cert, key []byte)
	ProxyClientCertFile, ProxyClientKeyFile string
	ProxyCAPEM                              []byte
	RequestTimeout                          time.Duration
	KubeletCAPEM                            []byte // signs agents' serving certificates
	KubeletCAFile                           string // instead of KubeletCAPEM
	// KubeletClientCertificate is shown to agents, or that of the files if
	// given, which are read anew for each connection.
	KubeletClientCertificate                    func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	KubeletClientCertFile, KubeletClientKeyFile string
	// NoAggregatorRouting reaches extension servers and webhooks by the cluster
	// IP of their service, not by one of its endpoints.
	NoAggregatorRouting bool
	// DeleteCollectionWorkers delete the objects of a collection at a time;
	// default 1.
	DeleteCollectionWorkers int
	// Changes to the default set of admission plugins, by upstream's names.
	EnableAdmissionPlugins, DisableAdmissionPlugins []string
	// AdmissionConfigFile is an AdmissionConfiguration; none when empty.
	AdmissionConfigFile string
	// NotReadySeconds and UnreachableSeconds are how long pods stay on a node
	// that is not ready or does not answer, unless they say so; nil is 300.
	NotReadySeconds, UnreachableSeconds *int64
	// Paths are served beside the API to those who may by RBAC, as
	// non-resource URLs.
	Paths map[string]http.Handler
	// DialNode reaches an agent or a pod; nil is TCP. Nodes in this process
	// are reached through memory.
	DialNode func(ctx context.Context, network, address string) (net.Conn, error)
}

// ServiceAccounts says whose service-account tokens are good.
type ServiceAccounts struct {
	// Key signs tokens; SigningKeyFile instead of it. Without either there are
	// no tokens.
	Key            crypto.Signer
	SigningKeyFile string
	KeyFiles       []string // further keys that tokens may be signed with
	// Issuers are whose tokens are accepted; the first is ours. Default
	// https://kubernetes.default.svc.cluster.local.
	Issuers      []string
	APIAudiences []string      // whom tokens for this server are for; default: the issuers
	JWKSURI      string        // where others get the keys; default: this server
	MaxLifetime  time.Duration // of tokens; default: as long as is asked for
}

func (c *Config) complete() {
	if len(c.ServiceAccounts.Issuers) == 0 {
		c.ServiceAccounts.Issuers = []string{"https://kubernetes.default.svc.cluster.local"}
	}
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
