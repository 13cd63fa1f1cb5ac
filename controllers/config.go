package controllers

import (
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// Config says which controllers run and how. The zero value of every field
// but REST is usable; New fills in the defaults that are named here.
type Config struct {
	// REST reaches the API server. Its client-side rate limits are ignored:
	// the server has priority and fairness for that.
	REST *rest.Config

	// Controllers names what runs: a name, "-" and a name, or "*" (default)
	// for all that are not named. See Names.
	Controllers []string

	// Concurrency is the number of objects that each controller works on at a
	// time. Default 5.
	Concurrency int

	// Clock is what the controllers tell the time by. Default the real one.
	Clock clock.WithTicker

	// LeaderElect makes instances choose one among them that acts, by the
	// Lease kube-system/kube-controller-manager.
	LeaderElect bool

	// Identity is this instance in the Lease. Default host name and a random
	// part. An instance that comes back with the identity it had leads at
	// once, so give a fixed one only where a second process with it cannot be.
	Identity string

	// LeaseDuration is how long others wait for a silent leader (default 2s,
	// whole seconds, since a Lease holds no others), RenewDeadline how long a
	// leader that cannot renew goes on (default 1.3s), RetryPeriod the time
	// between tries (default 100ms).
	//
	// A standby looks at the Lease every 1 to 2.2 retry periods, so a dead
	// leader is replaced after at most 2s + 2 × 2.2 × 100ms = 2.5s. A leader
	// writes it at every sixth try, and so has given up after 1.3s + 600ms.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration

	// Alone, if not nil, says whether no other instance could act in this one's
	// place. While that is so the leader writes the Lease every 5 s, for 15 s.
	Alone func() bool

	// LeaseName and LeaseNamespace default to kube-controller-manager in
	// kube-system.
	LeaseName, LeaseNamespace string

	// HealthBindAddress serves /healthz, /livez and /readyz, and
	// MetricsBindAddress /metrics, over plain HTTP; both may be the same
	// address. Empty or "0" serves nothing.
	HealthBindAddress, MetricsBindAddress string

	// ClusterCIDR is what pods' addresses are taken from, one for each IP
	// family, separated by a comma; for example "10.244.0.0/16".
	ClusterCIDR string

	// AllocateNodeCIDRs gives every node a part of ClusterCIDR for its pods.
	AllocateNodeCIDRs bool

	// NodeCIDRMaskSize and NodeCIDRMaskSizeIPv6 are the sizes of the parts.
	// Default 24 and 64.
	NodeCIDRMaskSize, NodeCIDRMaskSizeIPv6 int

	// ServiceClusterIPRange is never given to pods where it overlaps with
	// ClusterCIDR.
	ServiceClusterIPRange string

	// LoadBalancerPool is what services of type LoadBalancer get addresses
	// from: networks and ranges, separated by commas. Empty: the nodes' own.
	LoadBalancerPool string

	// NodeMonitorPeriod is the time between looks at a node (default 5s),
	// NodeMonitorGracePeriod how long it may be silent before it counts as
	// unreachable (default 40s), NodeStartupGracePeriod the same for a node
	// that has just registered (default 60s).
	NodeMonitorPeriod, NodeMonitorGracePeriod, NodeStartupGracePeriod time.Duration

	// NodeEvictionRate is how many nodes a second are given the taint that
	// evicts their pods, while their zone is healthy (default 0.1; negative: none).
	// SecondaryNodeEvictionRate is used instead in a zone where more than
	// UnhealthyZoneThreshold (default 0.55) of the nodes are silent (default
	// 0.01), and nothing is evicted there when it has at most
	// LargeClusterSizeThreshold nodes (default 50).
	NodeEvictionRate, SecondaryNodeEvictionRate float32
	LargeClusterSizeThreshold                   int32
	UnhealthyZoneThreshold                      float32

	// MaxWaitForUnmount is how long a node that is not ready may keep a volume
	// attached that no pod of it uses any more (default 6m), unless
	// DisableForceDetachOnTimeout.
	MaxWaitForUnmount           time.Duration
	DisableForceDetachOnTimeout bool

	// RootCA is the certificate authority, PEM, that is published to every
	// namespace as ConfigMap kube-root-ca.crt. Empty: the one in REST.
	RootCA []byte

	// ServiceAccountKey is the private key, PEM, that signs the tokens in
	// Secrets of type kubernetes.io/service-account-token. Empty: such Secrets
	// are left without a token.
	ServiceAccountKey []byte

	// ClusterSigningCert and ClusterSigningKey are the CA, PEM, that signs
	// CertificateSigningRequests of the kubernetes.io signers. Empty: they are
	// left unsigned.
	ClusterSigningCert, ClusterSigningKey []byte

	// ClusterSigningDuration is the longest that a signed certificate is valid
	// for (default a year).
	ClusterSigningDuration time.Duration

	filled <-chan struct{} // closed when the caches are
	cached *informers      // those of the caches
}

// withDefaults returns cfg with every empty field that has a default filled in.
// The numbers are kube-controller-manager's, except for leader election.
func (cfg Config) withDefaults() Config {
	setDefault(&cfg.Concurrency, 5)
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	setDefault(&cfg.LeaseDuration, 2*time.Second)
	setDefault(&cfg.RenewDeadline, 1300*time.Millisecond)
	setDefault(&cfg.RetryPeriod, 100*time.Millisecond)
	setDefault(&cfg.LeaseName, "kube-controller-manager")
	setDefault(&cfg.LeaseNamespace, "kube-system")
	setDefault(&cfg.NodeCIDRMaskSize, 24)
	setDefault(&cfg.NodeCIDRMaskSizeIPv6, 64)
	setDefault(&cfg.NodeMonitorPeriod, 5*time.Second)
	setDefault(&cfg.NodeMonitorGracePeriod, 40*time.Second)
	setDefault(&cfg.NodeStartupGracePeriod, time.Minute)
	setDefault(&cfg.NodeEvictionRate, 0.1)
	setDefault(&cfg.SecondaryNodeEvictionRate, 0.01)
	setDefault(&cfg.LargeClusterSizeThreshold, 50)
	setDefault(&cfg.UnhealthyZoneThreshold, 0.55)
	setDefault(&cfg.MaxWaitForUnmount, 6*time.Minute)
	setDefault(&cfg.ClusterSigningDuration, 365*24*time.Hour)
	if len(cfg.RootCA) == 0 && cfg.REST != nil {
		cfg.RootCA = cfg.REST.CAData
	}
	return cfg
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
