package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/dump"
)

// BridgeConfig configures Bridge.
type BridgeConfig struct {
	// Dir keeps the addresses that are given out.
	Dir string
	// Name of the bridge, "skiff0" if empty. Nodes in one network namespace
	// need one each.
	Name string
	// MTU of the pods' links; 0 takes that of the link with the default route.
	MTU int
	// ClusterCIDRs are not masqueraded: pods see each other's addresses. Empty
	// leaves it to the node's own CIDRs.
	ClusterCIDRs []netip.Prefix
}

// Bridge is the built-in network.
type Bridge struct {
	cfg       BridgeConfig
	addresses *addresses
	rules     *rules
	nl        *netlink.Handle

	mu     sync.Mutex
	cidrs  []netip.Prefix
	mtu    int
	bridge netlink.Link
	peers  []Peer
	told   bool // peers are known
	// overhead is what the overlay takes of each packet, while there is one.
	overhead int
	// filtered says that the kernel's rules see what goes from port to port of
	// the bridge.
	filtered bool

	background sync.WaitGroup // link deletions
}

var _ Network = (*Bridge)(nil)

// NewBridge prepares a bridge network in the caller's network namespace; the
// bridge itself is made once the CIDRs are known.
func NewBridge(cfg BridgeConfig) (*Bridge, error) {
	if cfg.Name == "" {
		cfg.Name = "skiff0"
	}
	// Only the route family: with all of them this fails where xfrm is missing.
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Bridge{cfg: cfg, addresses: newAddresses(filepath.Join(cfg.Dir, "addresses.json")), rules: newRules(cfg.Name), nl: nl}, nil
}

// Name of the bridge.
func (b *Bridge) Name() string { return b.cfg.Name }

// Close waits for links that are being deleted and lets go of netlink. Pods
// stay connected.
func (b *Bridge) Close() {
	b.background.Wait()
	b.nl.Close()
}

// SetCIDRs implements Network: it makes the bridge, its addresses, forwarding
// and masquerade.
func (b *Bridge) SetCIDRs(_ context.Context, cidrs []netip.Prefix) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(cidrs, b.cidrs) && b.bridge != nil {
		return nil
	}
	mtu := b.cfg.MTU
	if mtu == 0 {
		mtu = b.defaultMTU()
	}
	link, err := b.ensureBridge(cidrs, mtu)
	if err != nil {
		return err
	}
	if err := enableForwarding(cidrs); err != nil {
		return err
	}
	if b.filtered, err = filterBridges(); err != nil {
		return err
	}
	if err := b.addresses.setCIDRs(cidrs); err != nil {
		return err
	}
	b.addresses.eachPort(b.rules.rememberHostPorts)
	if err := b.rules.setCIDRs(cidrs, b.cfg.ClusterCIDRs); err != nil {
		return err
	}
	b.cidrs, b.bridge, b.mtu = cidrs, link, mtu
	return b.writeRoutes()
}

// defaultMTU is that of the link with the default route, else Ethernet's.
func (b *Bridge) defaultMTU() int {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump.Whole(func() ([]netlink.Route, error) { return b.nl.RouteList(nil, family) })
		if err != nil {
			return 1500
		}
		for _, r := range routes {
			if r.Dst != nil && !r.Dst.IP.IsUnspecified() || r.Type != unix.RTN_UNICAST {
				continue
			}
			if link, err := b.nl.LinkByIndex(r.LinkIndex); err == nil {
				return link.Attrs().MTU
			}
		}
	}
	return 1500
}

func (b *Bridge) ensureBridge(cidrs []netip.Prefix, mtu int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.cfg.Name, mtu
	if err := b.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, syscall.EEXIST) {
		return nil, fmt.Errorf("make bridge %s: %w", b.cfg.Name, err)
	}
	link, err := b.nl.LinkByName(b.cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", b.cfg.Name, err)
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("link %s is no bridge but of type %s: remove or rename it", b.cfg.Name, link.Type())
	}
	// A bridge without an address of its own takes the lowest of its ports':
	// each pod that comes or goes could change it, and the others would send to
	// the old one until their neighbour entry ends.
	if len(cidrs) > 0 {
		if err := b.nl.LinkSetHardwareAddr(link, hardwareAddr(cidrs[0])); err != nil {
			return nil, fmt.Errorf("set hardware address of bridge %s: %w", b.cfg.Name, err)
		}
	}
	want := map[string]bool{}
	for _, c := range cidrs {
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gateway(c), c.Bits()))}
		if c.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		want[addr.IPNet.String()] = true
		if err := b.nl.AddrReplace(link, addr); err != nil {
			return nil, fmt.Errorf("set address %s of bridge %s: %w", addr.IPNet, b.cfg.Name, err)
		}
	}
	// Addresses of an earlier CIDR would draw its traffic here.
	old, err := dump.Whole(func() ([]netlink.Addr, error) { return b.nl.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of bridge %s: %w", b.cfg.Name, err)
	}
	for _, a := range old {
		if !want[a.IPNet.String()] && a.Scope == unix.RT_SCOPE_UNIVERSE {
			if err := b.nl.AddrDel(link, &a); err != nil {
				return nil, fmt.Errorf("remove address %s of bridge %s: %w", a.IPNet, b.cfg.Name, err)
			}
		}
	}
	if err := b.nl.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set bridge %s up: %w", b.cfg.Name, err)
	}
	return link, nil
}

// hardwareAddr is the bridge's, the same after every start: 0a:58, which is
// locally administered, and the end of the gateway's address.
func hardwareAddr(cidr netip.Prefix) net.HardwareAddr {
	ip := gateway(cidr).As16()
	return append(net.HardwareAddr{0x0a, 0x58}, ip[12:]...)
}

func enableForwarding(cidrs []netip.Prefix) error {
	for _, c := range cidrs {
		file := "/proc/sys/net/ipv4/ip_forward"
		if c.Addr().Is6() {
			file = "/proc/sys/net/ipv6/conf/all/forwarding"
		}
		if err := os.WriteFile(file, []byte("1"), 0o644); err != nil {
			return fmt.Errorf("enable forwarding: %w", err)
		}
	}
	return nil
}

// filterBridges has the kernel's rules see packets inside of bridges, where it
// can.
func filterBridges() (bool, error) {
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		err := os.WriteFile(filepath.Join("/proc/sys/net/bridge", name), []byte("1"), 0o644)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("have bridged packets filtered: %w", err)
		}
	}
	return true, nil
}

// Ready implements Network.
func (b *Bridge) Ready() error { return b.addresses.ready() }

// Reserve implements Network.
func (b *Bridge) Reserve(_ context.Context, podID string) ([]netip.Addr, error) {
	return b.addresses.reserve(podID)
}

// Pods implements Network.
func (b *Bridge) Pods() []string { return b.addresses.list() }

// hostLink names the node's end of a pod's link: 15 characters at most, and
// the same for the same pod.
func hostLink(podID string) string {
	sum := sha256.Sum256([]byte(podID))
	return "veth" + hex.EncodeToString(sum[:])[:11]
}

// Attach implements Network.
func (b *Bridge) Attach(_ context.Context, p Pod) ([]netip.Addr, error) {
	ips, err := b.addresses.reserve(p.ID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	bridge, mtu, cidrs := b.bridge, b.mtu-b.overhead, b.cidrs
	b.mu.Unlock()
	if bridge == nil {
		return nil, ErrNotReady
	}
	if moved(ips, cidrs) {
		err := errors.Join(b.rules.setHostPorts(p.ID, nil, nil), b.deleteLink(hostLink(p.ID)), b.addresses.release(p.ID))
		return nil, errors.Join(fmt.Errorf("addresses %v: %w", ips, ErrMoved), err)
	}
	ns, err := netns.GetFromPath(p.NetNS)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", p.NetNS, err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace %s: %w", p.NetNS, err)
	}
	defer inside.Close()
	name := hostLink(p.ID)
	if _, err := inside.LinkByName("eth0"); err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.MasterIndex = name, mtu, bridge.Attrs().Index
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
		err := b.nl.LinkAdd(veth)
		if errors.Is(err, syscall.EEXIST) {
			// Of an attempt that was cut off, or a sandbox of before.
			if err := b.deleteLink(name); err != nil {
				return nil, err
			}
			err = b.nl.LinkAdd(veth)
		}
		if err != nil {
			return nil, fmt.Errorf("make link %s: %w", name, err)
		}
	}
	outside, err := b.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	if outside.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := b.nl.LinkSetMaster(outside, bridge); err != nil {
			return nil, fmt.Errorf("put link %s on the bridge: %w", name, err)
		}
	}
	// A pod that reaches itself through a service may come back on its own port.
	if err := b.nl.LinkSetHairpin(outside, true); err != nil {
		return nil, fmt.Errorf("set hairpin of link %s: %w", name, err)
	}
	// Pods reach each other through the node, where policies and services are.
	// What is redirected by the bridge's own hooks goes from port to port; a
	// kernel without those keeps the ports apart.
	if err := b.nl.LinkSetIsolated(outside, !b.filtered); err != nil {
		return nil, fmt.Errorf("set isolation of link %s: %w", name, err)
	}
	if err := b.nl.LinkSetUp(outside); err != nil {
		return nil, fmt.Errorf("set link %s up: %w", name, err)
	}
	if err := configureInside(inside, ips, cidrs); err != nil {
		return nil, err
	}
	if err := errors.Join(b.addresses.setPorts(p.ID, p.HostPorts), b.rules.setHostPorts(p.ID, ips, p.HostPorts)); err != nil {
		return nil, err
	}
	return ips, nil
}

// SetLoopbackUp has a network namespace reach itself.
func SetLoopbackUp(path string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer inside.Close()
	lo, err := inside.LinkByName("lo")
	if err == nil {
		err = inside.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set the pod's lo up: %w", err)
	}
	return nil
}

// configureInside sets up a pod's links, addresses and default routes. A pod is
// alone in its subnet: also what goes to its neighbours goes to the gateway, so
// that the node sees it and finds the way back of what it has redirected.
func configureInside(nl *netlink.Handle, ips []netip.Addr, cidrs []netip.Prefix) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find the pod's %s: %w", name, err)
		}
		if name == "eth0" {
			for _, ip := range ips {
				addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(ip, ip.BitLen()))}
				if ip.Is6() {
					addr.Flags = unix.IFA_F_NODAD // nobody else has it: no second of waiting
				}
				if err := nl.AddrReplace(link, addr); err != nil {
					return fmt.Errorf("set the pod's address %s: %w", ip, err)
				}
			}
		}
		if err := nl.LinkSetUp(link); err != nil {
			return fmt.Errorf("set the pod's %s up: %w", name, err)
		}
		if name == "eth0" {
			for _, ip := range ips {
				gw := gateway(cidrOf(ip, cidrs))
				for _, route := range []*netlink.Route{
					{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(netip.PrefixFrom(gw, gw.BitLen()))},
					{LinkIndex: link.Attrs().Index, Gw: gw.AsSlice(), Dst: ipNet(everything(gw))},
				} {
					if err := nl.RouteReplace(route); err != nil {
						return fmt.Errorf("set the pod's routes: %w", err)
					}
				}
			}
		}
	}
	return nil
}

// everything of an address's family.
func everything(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func cidrOf(ip netip.Addr, cidrs []netip.Prefix) netip.Prefix {
	for _, c := range cidrs {
		if c.Contains(ip) {
			return c
		}
	}
	return netip.PrefixFrom(ip, ip.BitLen())
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Detach implements Network. Deleting a link takes about 30 ms in the kernel:
// its address is freed only after that, but nobody waits.
func (b *Bridge) Detach(ctx context.Context, podID string) error {
	if err := b.rules.setHostPorts(podID, nil, nil); err != nil {
		return err
	}
	if len(b.addresses.of(podID)) == 0 {
		return nil
	}
	b.background.Go(func() {
		err := b.deleteLink(hostLink(podID))
		if err == nil {
			err = b.addresses.release(podID)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Disconnecting pod", "podUID", podID)
		}
	})
	return nil
}

func (b *Bridge) deleteLink(name string) error {
	link, err := b.nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := b.nl.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// Remove takes away all that the network has made on the node: links, bridge,
// rules and the file of addresses.
func (b *Bridge) Remove() error {
	b.background.Wait()
	var errs []error
	links, err := dump.Whole(b.nl.LinkList)
	errs = append(errs, err)
	bridge, err := b.nl.LinkByName(b.cfg.Name)
	if err == nil {
		for _, l := range links {
			if l.Attrs().MasterIndex == bridge.Attrs().Index && strings.HasPrefix(l.Attrs().Name, "veth") {
				errs = append(errs, b.deleteLink(l.Attrs().Name))
			}
		}
		errs = append(errs, b.deleteLink(b.cfg.Name))
	}
	errs = append(errs, b.removeRoutes())
	errs = append(errs, b.rules.remove())
	if err := os.Remove(filepath.Join(b.cfg.Dir, "addresses.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
