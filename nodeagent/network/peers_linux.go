package network

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/dump"
)

const (
	// routeProtocol marks our routes in the kernel's tables, as routing daemons
	// have each a number of its own.
	routeProtocol = 0x5c
	// vni is the overlay's number, and vxlanPort the IANA's for VXLAN (RFC 7348).
	vni       = 0x5c1ff
	vxlanPort = 4789
	// Outer Ethernet, IP, UDP and VXLAN headers take 50 bytes of each packet
	// with IPv4, 70 with IPv6.
	vxlanOverhead4, vxlanOverhead6 = 50, 70
	// routesPeriod is how often routes and rules are compared with the kernel: a
	// route that went away with its link comes back.
	routesPeriod = 15 * time.Second
)

var _ Router = (*Bridge)(nil)

// SetPeers implements Router.
func (b *Bridge) SetPeers(peers []Peer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peers, b.told = peers, true
	return b.writeRoutes()
}

// KeepRoutes repairs the routes to other nodes and the table of rules until ctx
// ends.
func (b *Bridge) KeepRoutes(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(routesPeriod):
		}
		b.mu.Lock()
		err := b.writeRoutes()
		b.mu.Unlock()
		if err != nil {
			klog.FromContext(ctx).Error(err, "Keeping the routes to other nodes")
		}
		if err := b.rules.check(); err != nil {
			klog.FromContext(ctx).Error(err, "Keeping the rules of the pod network")
		}
	}
}

// writeRoutes makes the kernel's routes to other nodes what they are to be.
// b.mu is held.
func (b *Bridge) writeRoutes() error {
	if b.bridge == nil || !b.told {
		return nil
	}
	routes := planRoutes(b.cidrs, b.peers, b.reach)
	var errs []error
	var overlay netlink.Link
	if slices.ContainsFunc(routes, func(r peerRoute) bool { return r.outer.IsValid() }) {
		var err error
		if overlay, err = b.ensureOverlay(routes); err != nil {
			errs = append(errs, err)
		}
	} else {
		b.overhead = 0
		errs = append(errs, b.deleteLink(overlayName(b.cfg.Name)))
	}
	want := map[netip.Prefix]bool{}
	for _, r := range routes {
		route := &netlink.Route{Dst: ipNet(r.cidr), Gw: r.via.AsSlice(), Protocol: routeProtocol}
		if r.outer.IsValid() {
			if overlay == nil {
				continue
			}
			if vx, ok := overlay.(*netlink.Vxlan); ok && (vx.SrcAddr == nil) != r.outer.Is4() {
				errs = append(errs, fmt.Errorf("pods at %s: their node has no IPv4 address, by which others are reached", r.cidr))
				continue
			}
			route.LinkIndex, route.Flags = overlay.Attrs().Index, int(netlink.FLAG_ONLINK)
			if err := b.ensureNeighbour(overlay, r); err != nil {
				errs = append(errs, err)
			}
		}
		want[r.cidr] = true
		if err := b.nl.RouteReplace(route); err != nil {
			errs = append(errs, fmt.Errorf("set route to %s via %s: %w", r.cidr, r.via, err))
		}
	}
	return errors.Join(append(errs, b.deleteRoutes(want))...)
}

// reach asks the kernel for the way to another node.
func (b *Bridge) reach(a netip.Addr) (ok, direct bool) {
	routes, err := b.nl.RouteGet(a.AsSlice())
	if err != nil || len(routes) == 0 {
		return false, false
	}
	r := routes[0]
	// Through our own bridge or overlay there are pods, not nodes.
	if r.LinkIndex == b.bridge.Attrs().Index || r.Type == unix.RTN_LOCAL {
		return false, false
	}
	return true, r.Gw == nil
}

// deleteRoutes removes those of our routes that are not wanted.
func (b *Bridge) deleteRoutes(want map[netip.Prefix]bool) error {
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump.Whole(func() ([]netlink.Route, error) {
			return b.nl.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("list routes: %w", err))
			continue
		}
		for i := range routes {
			if routes[i].Dst == nil {
				continue
			}
			if cidr := prefixOf(routes[i].Dst); want[cidr] {
				continue
			}
			if err := b.nl.RouteDel(&routes[i]); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, fmt.Errorf("delete route to %s: %w", routes[i].Dst, err))
			}
		}
	}
	return errors.Join(errs...)
}

// removeRoutes takes away all that leads to other nodes.
func (b *Bridge) removeRoutes() error {
	return errors.Join(b.deleteRoutes(nil), b.deleteLink(overlayName(b.cfg.Name)))
}

// ensureOverlay makes the VXLAN link. It learns nothing from packets: who is
// where is known from the Nodes.
func (b *Bridge) ensureOverlay(routes []peerRoute) (netlink.Link, error) {
	name := overlayName(b.cfg.Name)
	overhead := vxlanOverhead4
	source, err := b.overlaySource(routes)
	if err != nil {
		return nil, err
	}
	if source != nil {
		overhead = vxlanOverhead6
	}
	// Pods from now on send what fits; those of before are told by the kernel.
	b.overhead = overhead
	mtu := b.mtu - overhead
	link, err := b.nl.LinkByName(name)
	if vx, ok := link.(*netlink.Vxlan); err == nil && (!ok || vx.VxlanId != vni || vx.Port != vxlanPort) {
		return nil, fmt.Errorf("link %s is not the overlay between nodes: remove or rename it", name)
	}
	if vx, ok := link.(*netlink.Vxlan); err == nil && ok && (source == nil) != (vx.SrcAddr == nil) {
		// Of the other family, as the nodes were before.
		if err := b.deleteLink(name); err != nil {
			return nil, err
		}
		link, err = nil, netlink.LinkNotFoundError{}
	}
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = name, mtu, overlayAddr(b.cidrs[0])
		err = b.nl.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: vni, Port: vxlanPort, SrcAddr: source, Learning: false, UDP6ZeroCSumRx: true})
		if err == nil {
			link, err = b.nl.LinkByName(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make overlay %s: %w", name, err)
	}
	if link.Attrs().MTU != mtu {
		if err := b.nl.LinkSetMTU(link, mtu); err != nil {
			return nil, fmt.Errorf("set MTU of overlay %s: %w", name, err)
		}
	}
	// The node's own packets to pods elsewhere come from an address of its pod
	// network, which has a way back.
	for _, c := range b.cidrs {
		first := c.Masked().Addr()
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(first, first.BitLen()))}
		if first.Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := b.nl.AddrReplace(link, addr); err != nil {
			return nil, fmt.Errorf("set address %s of overlay %s: %w", first, name, err)
		}
	}
	if err := b.nl.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set overlay %s up: %w", name, err)
	}
	return link, nil
}

// overlaySource is what makes an overlay one over IPv6: an address of our own.
// The kernel's links carry one family each; nil is IPv4.
func (b *Bridge) overlaySource(routes []peerRoute) (net.IP, error) {
	var source net.IP
	for _, r := range routes {
		if r.outer.Is4() {
			return nil, nil
		}
		if !r.outer.IsValid() || source != nil {
			continue
		}
		ways, err := b.nl.RouteGet(r.outer.AsSlice())
		if err != nil || len(ways) == 0 {
			return nil, fmt.Errorf("way to node at %s: %w", r.outer, err)
		}
		source = ways[0].Src
	}
	return source, nil
}

// ensureNeighbour says in which node's overlay link an address is, and behind
// which address that node is.
func (b *Bridge) ensureNeighbour(overlay netlink.Link, r peerRoute) error {
	mac := overlayAddr(r.id)
	for _, n := range []*netlink.Neigh{
		{LinkIndex: overlay.Attrs().Index, State: netlink.NUD_PERMANENT, IP: r.via.AsSlice(), HardwareAddr: mac},
		{LinkIndex: overlay.Attrs().Index, State: netlink.NUD_PERMANENT, Family: syscall.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: r.outer.AsSlice(), HardwareAddr: mac},
	} {
		if err := b.nl.NeighSet(n); err != nil {
			return fmt.Errorf("set neighbour %s of overlay: %w", r.via, err)
		}
	}
	return nil
}

// overlayAddr is the hardware address of a node's end of the overlay, which
// others know from the first of its CIDRs: 0a:59, which is locally
// administered, and four bytes of a hash.
func overlayAddr(cidr netip.Prefix) net.HardwareAddr {
	sum := sha256.Sum256([]byte(cidr.Masked().String()))
	return append(net.HardwareAddr{0x0a, 0x59}, sum[:4]...)
}

func prefixOf(n *net.IPNet) netip.Prefix {
	ip, _ := netip.AddrFromSlice(n.IP) // the kernel's
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits)
}
