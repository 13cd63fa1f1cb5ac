package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	gocni "github.com/containerd/go-cni"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/skiffcluster/skiff/nodeagent/network"
)

// Config of a Network.
type Config struct {
	// ConfDir has the configurations, BinDir the plugins.
	ConfDir, BinDir string
	// Dir keeps what is known of connected pods.
	Dir string
}

// Network connects pods by plugins.
type Network struct {
	cfg Config
	cni gocni.CNI

	mu     sync.Mutex
	loaded string // the directory as it was read last
	pods   map[string]*record
}

// record is a connected pod on disk.
type record struct {
	network.Pod
	IPs []netip.Addr `json:"ips"`
}

var _ network.Network = (*Network)(nil)

// New reads what pods are connected. Without a configuration the network is not
// ready, until there is one.
func New(cfg Config) (*Network, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of connected pods: %w", err)
	}
	c, err := gocni.New(gocni.WithPluginConfDir(cfg.ConfDir), gocni.WithPluginDir([]string{cfg.BinDir}), gocni.WithInterfacePrefix("eth"))
	if err != nil {
		return nil, fmt.Errorf("set up CNI: %w", err)
	}
	n := &Network{cfg: cfg, cni: c, pods: map[string]*record{}}
	files, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("read connected pods: %w", err)
	}
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		r := &record{}
		raw, err := os.ReadFile(filepath.Join(cfg.Dir, f.Name()))
		if err == nil {
			err = json.Unmarshal(raw, r)
		}
		if err != nil {
			return nil, fmt.Errorf("read connected pod %s: %w", id, err)
		}
		n.pods[id] = r
	}
	return n, nil
}

// SetCIDRs implements network.Network: plugins have addresses of their own.
func (n *Network) SetCIDRs(context.Context, []netip.Prefix) error { return nil }

// notReady is network.ErrNotReady with a reason.
type notReady struct{ error }

// Is makes it network.ErrNotReady.
func (notReady) Is(target error) bool { return target == network.ErrNotReady }

// Ready implements network.Network.
func (n *Network) Ready() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, err := look(n.cfg.ConfDir)
	if err != nil {
		return notReady{err}
	}
	if now != n.loaded || n.cni.Status() != nil {
		if err := n.cni.Load(gocni.WithDefaultConf); err != nil {
			if gocni.IsCNINotInitialized(err) || errors.Is(err, gocni.ErrLoad) && now == "" {
				err = gocni.ErrCNINotInitialized
			}
			return notReady{err}
		}
		n.loaded = now
	}
	if err := n.cni.Status(); err != nil {
		return notReady{err}
	}
	return nil
}

// look gives something that changes with the directory's configurations.
func look(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read CNI configurations: %w", err)
	}
	var b strings.Builder
	for _, e := range entries {
		if !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		if info, err := e.Info(); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String(), nil
}

// Reserve implements network.Network: what is connected has addresses.
func (n *Network) Reserve(_ context.Context, podID string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.pods[podID]; r != nil {
		return slices.Clone(r.IPs), nil
	}
	return nil, nil
}

// Attach implements network.Network. A pod that is connected is checked, and
// connected again where plugins say that it is not.
func (n *Network) Attach(ctx context.Context, p network.Pod) ([]netip.Addr, error) {
	if err := n.Ready(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	old := n.pods[p.ID]
	n.mu.Unlock()
	if old != nil && len(old.IPs) > 0 {
		if old.NetNS == p.NetNS && n.cni.Check(ctx, p.ID, p.NetNS, options(p)...) == nil {
			return slices.Clone(old.IPs), nil
		}
		if err := n.Detach(ctx, p.ID); err != nil {
			return nil, err
		}
	}
	// Kept before plugins run: whatever they do is undone after a crash.
	r := &record{Pod: p}
	if err := n.keep(r); err != nil {
		return nil, err
	}
	if err := network.SetLoopbackUp(p.NetNS); err != nil {
		return nil, err
	}
	result, err := n.cni.SetupSerially(ctx, p.ID, p.NetNS, options(p)...)
	if err != nil {
		err = fmt.Errorf("failed to setup network for sandbox %q: %w", p.ID, err)
		return nil, errors.Join(err, n.Detach(context.WithoutCancel(ctx), p.ID))
	}
	if eth0 := result.Interfaces["eth0"]; eth0 != nil {
		for _, c := range eth0.IPConfigs {
			if ip, ok := netip.AddrFromSlice(c.IP); ok {
				r.IPs = append(r.IPs, ip.Unmap())
			}
		}
	}
	if len(r.IPs) == 0 {
		err := fmt.Errorf("failed to setup network for sandbox %q: plugins gave eth0 no address", p.ID)
		return nil, errors.Join(err, n.Detach(context.WithoutCancel(ctx), p.ID))
	}
	return slices.Clone(r.IPs), n.keep(r)
}

// Detach implements network.Network.
func (n *Network) Detach(ctx context.Context, podID string) error {
	n.mu.Lock()
	r := n.pods[podID]
	n.mu.Unlock()
	if r == nil {
		return nil
	}
	if err := n.Ready(); err != nil {
		return fmt.Errorf("failed to destroy network for sandbox %q: %w", podID, err)
	}
	path := r.NetNS
	if _, err := os.Stat(path); err != nil {
		path = "" // plugins free what they keep elsewhere
	}
	if err := n.cni.Remove(ctx, podID, path, options(r.Pod)...); err != nil {
		return fmt.Errorf("failed to destroy network for sandbox %q: %w", podID, err)
	}
	if err := os.Remove(n.file(podID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget connected pod: %w", err)
	}
	n.mu.Lock()
	delete(n.pods, podID)
	n.mu.Unlock()
	return nil
}

// Pods implements network.Network.
func (n *Network) Pods() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := make([]string, 0, len(n.pods))
	for id := range n.pods {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (n *Network) file(podID string) string { return filepath.Join(n.cfg.Dir, podID+".json") }

func (n *Network) keep(r *record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep connected pod: %w", err)
	}
	temp := n.file(r.ID) + ".new"
	if err := os.WriteFile(temp, raw, 0o600); err != nil {
		return fmt.Errorf("keep connected pod: %w", err)
	}
	if err := os.Rename(temp, n.file(r.ID)); err != nil {
		return fmt.Errorf("keep connected pod: %w", err)
	}
	n.mu.Lock()
	n.pods[r.ID] = r
	n.mu.Unlock()
	return nil
}

// options are what plugins are told of a pod, as the kubelet's runtimes do.
func options(p network.Pod) []gocni.NamespaceOpts {
	opts := []gocni.NamespaceOpts{
		gocni.WithLabels(map[string]string{
			"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": p.Namespace, "K8S_POD_NAME": p.Name,
			"K8S_POD_INFRA_CONTAINER_ID": p.ID, "K8S_POD_UID": p.ID,
		}),
		gocni.WithCapability("io.kubernetes.cri.pod-annotations", p.Annotations),
	}
	if len(p.HostPorts) > 0 {
		mappings := make([]gocni.PortMapping, 0, len(p.HostPorts))
		for _, h := range p.HostPorts {
			m := gocni.PortMapping{HostPort: int32(h.HostPort), ContainerPort: int32(h.ContainerPort), Protocol: strings.ToLower(h.Protocol)}
			if h.HostIP.IsValid() {
				m.HostIP = h.HostIP.String()
			}
			mappings = append(mappings, m)
		}
		opts = append(opts, gocni.WithCapabilityPortMap(mappings))
	}
	if b, ok := bandwidth(p.Annotations); ok {
		opts = append(opts, gocni.WithCapabilityBandWidth(b))
	}
	return opts
}

// bandwidth reads the annotations that limit a pod's traffic, in bits a second.
func bandwidth(annotations map[string]string) (gocni.BandWidth, bool) {
	var b gocni.BandWidth
	for name, into := range map[string][2]*uint64{
		"kubernetes.io/ingress-bandwidth": {&b.IngressRate, &b.IngressBurst},
		"kubernetes.io/egress-bandwidth":  {&b.EgressRate, &b.EgressBurst},
	} {
		q, err := resource.ParseQuantity(annotations[name])
		if err != nil || q.Sign() <= 0 {
			continue
		}
		// Bursts are not limited, as the container runtimes have it.
		*into[0], *into[1] = uint64(q.Value()), 1<<31-1
	}
	return b, b != gocni.BandWidth{}
}
