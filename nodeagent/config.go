package nodeagent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/node"
	"github.com/skiffcluster/skiff/nodeagent/podsource"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
)

// Config of an Agent. REST, or Client, must be set; NodeName is the host's name
// by default, in lower case.
type Config struct {
	REST *rest.Config
	// Client takes the place of one made from REST: agents in one process can
	// share it.
	Client   kubernetes.Interface
	NodeName string
	// DataDir keeps images, pods' files, logs and state. Needed with containerd.
	DataDir string

	// Runtime runs the pods; nil is containerd. A *simulated.Runtime runs them
	// in memory: without files, network and probes.
	Runtime runtime.Runtime
	// ContainerdAddress is a containerd that somebody else runs. Without it the
	// agent starts one from BinDir and keeps it running.
	ContainerdAddress string
	// BinDir has containerd, containerd-shim-runc-v2 and runc; the directory of
	// this process's executable by default.
	BinDir string
	// CgroupRoot stands before "kubepods" in cgroup paths: nodes on one machine
	// need one each.
	CgroupRoot string
	// BridgeName and MTU of the built-in pod network; skiff0 and that of the
	// default route's link by default.
	BridgeName string
	MTU        int
	// CNIConfDir has CNI configurations: the first is used instead of the
	// built-in network, and as long as there is none the node is not ready. Empty
	// is the built-in network. CNIBinDir has the plugins, /opt/cni/bin by default.
	CNIConfDir, CNIBinDir string
	// ClusterCIDRs hold all pods; traffic to them is not masqueraded.
	ClusterCIDRs []netip.Prefix
	// PodCIDRs are used until, and unless, the Node has some.
	PodCIDRs []netip.Prefix

	ClusterDNS    []string
	ClusterDomain string // cluster.local by default
	// ResolvConf is the node's own, /etc/resolv.conf by default.
	ResolvConf string

	// NodeIP is the node's address, or one of each family separated by a comma;
	// that of the default route's link by default.
	NodeIP string
	Labels map[string]string
	Taints []corev1.Taint
	// AllowedUnsafeSysctls are what pods may set beside the safe sysctls: names, or
	// with * at the end what they begin with.
	AllowedUnsafeSysctls []string
	// MaxPods is 110 by default.
	MaxPods int
	// Capacity replaces what the machine has, by resource.
	Capacity corev1.ResourceList

	// Certificate serves the API on Port (10250 by default), at each handshake;
	// without one the API is not served. ClientCA verifies clients, PEM.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ClientCA    []byte
	Address     string
	Port        int
	// Listener takes the place of Address and Port.
	Listener net.Listener
	// HealthPort is 10248 by default, -1 any free one, -2 none.
	HealthPort int

	// HideSystemLogs keeps /logs/ from showing the machine's /var/log to whoever may
	// get nodes/log. Nodes with pods in memory never show it.
	HideSystemLogs bool

	// Pods is where pods come from; a watch of the API by default.
	Pods podsource.Source
	// DontWatchNode leaves it to NodeChanged to bring newer versions of the
	// Node, for whoever has many.
	DontWatchNode bool
	// Events records events; nil makes a recorder of the agent's own.
	Events record.EventRecorder

	// SyncPeriod, ReportPeriod and LeasePeriod are node.Config's.
	SyncPeriod, ReportPeriod, LeasePeriod time.Duration
	Clock                                 clock.WithTickerAndDelayedExecution
	// Version is the node's kubeletVersion; Kubernetes' version that this
	// agent corresponds to by default.
	Version string
}

// inMemory says that pods have no files and no network.
func (c *Config) inMemory() bool {
	_, ok := c.Runtime.(*simulated.Runtime)
	return ok
}

func (c *Config) complete() error {
	if c.REST == nil && c.Client == nil {
		return errors.New("node agent: neither REST nor Client is set")
	}
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("node agent: %w", err)
		}
		c.NodeName = strings.ToLower(strings.TrimSpace(name))
	}
	if c.DataDir == "" && !c.inMemory() {
		return errors.New("node agent: DataDir is not set")
	}
	if c.DataDir != "" {
		dir, err := filepath.Abs(c.DataDir)
		if err != nil {
			return fmt.Errorf("node agent: %w", err)
		}
		c.DataDir = dir
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("node agent: make data directory: %w", err)
		}
	}
	if c.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("node agent: find own executable: %w", err)
		}
		c.BinDir = filepath.Dir(self)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.CNIBinDir == "" {
		c.CNIBinDir = "/opt/cni/bin"
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Version == "" {
		c.Version = defaultVersion
	}
	return c.completeNodeIP()
}

func (c *Config) completeNodeIP() error {
	if c.NodeIP != "" {
		return nil
	}
	if c.inMemory() {
		c.NodeIP = "127.0.0.1"
		return nil
	}
	ip, err := utilnet.ResolveBindAddress(nil)
	if err != nil {
		return fmt.Errorf("node agent: find the node's address (set it with --node-ip): %w", err)
	}
	c.NodeIP = ip.String()
	return nil
}

// machine gives capacity, what is left of it for pods, and what the node is.
func (c *Config) machine() (capacity, allocatable corev1.ResourceList, info corev1.NodeSystemInfo, err error) {
	dir := c.DataDir
	if dir == "" {
		dir = os.TempDir()
	}
	capacity, info, err = node.Machine(dir)
	if err != nil {
		return nil, nil, info, fmt.Errorf("node agent: %w", err)
	}
	capacity[corev1.ResourcePods] = *resource.NewQuantity(int64(c.MaxPods), resource.DecimalSI)
	for name, q := range c.Capacity {
		capacity[name] = q
	}
	allocatable = capacity.DeepCopy()
	if !c.inMemory() {
		// What eviction keeps free: 100 MiB and a tenth, the kubelet's defaults.
		memory := allocatable[corev1.ResourceMemory]
		memory.Sub(resource.MustParse("100Mi"))
		allocatable[corev1.ResourceMemory] = memory
		disk := allocatable[corev1.ResourceEphemeralStorage]
		allocatable[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(disk.Value()/10*9, resource.DecimalSI)
		for name, q := range allocatable {
			if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				memory.Sub(q)
				allocatable[corev1.ResourceMemory] = memory
			}
		}
	}
	info.KubeletVersion = c.Version
	info.Architecture, info.OperatingSystem = goruntime.GOARCH, goruntime.GOOS
	return capacity, allocatable, info, nil
}

// defaultVersion is the Kubernetes that the agent behaves as.
const defaultVersion = "v1.37.2"
