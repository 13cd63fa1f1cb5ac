package conntrack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/model"
)

// Cleaner collects what may be stale and removes it. The zero value works in
// the process's own network namespace. It is not safe for concurrent use.
type Cleaner struct {
	// NetNS is the path of the network namespace; empty means the process's own.
	NetNS string

	noted map[model.Slot]servers
}

// servers are the endpoints that flows of a place may go to.
type servers map[netip.AddrPort]bool

// Note remembers the places whose flows may be stale once old became new;
// either may be nil. A change that only adds endpoints to others makes none.
func (c *Cleaner) Note(old, new *model.Service) {
	before, after := udpPlaces(old), udpPlaces(new)
	for slot, now := range after {
		if was, existed := before[slot]; !existed || len(was) == 0 || !containsAll(now, was) {
			c.note(slot, now)
		}
	}
	for slot := range before {
		if _, ok := after[slot]; !ok {
			c.note(slot, nil)
		}
	}
}

func (c *Cleaner) note(slot model.Slot, now servers) {
	if c.noted == nil {
		c.noted = map[model.Slot]servers{}
	}
	c.noted[slot] = now
}

// Clean removes the stale flows of the noted places. What fails is tried again
// by the next Clean.
func (c *Cleaner) Clean() error {
	if len(c.noted) == 0 {
		return nil
	}
	ns := netns.None()
	if c.NetNS != "" {
		var err error
		if ns, err = netns.GetFromPath(c.NetNS); err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	defer h.Close()
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter(c.noted))
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("remove stale UDP flows: %w", err)
		}
	}
	c.noted = nil
	return nil
}

// filter matches stale flows; it implements netlink.CustomConntrackFilter.
type filter map[model.Slot]servers

// MatchConntrackFlow tells whether the flow is stale.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	dst := addrPort(flow.Forward.DstIP, flow.Forward.DstPort)
	src := addrPort(flow.Forward.SrcIP, flow.Forward.SrcPort)
	server := addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort)
	family := corev1.IPv4Protocol
	if dst.Addr().Is6() {
		family = corev1.IPv6Protocol
	}
	slot := model.Slot{Addr: dst.Addr(), Family: family, Protocol: corev1.ProtocolUDP, Port: dst.Port()}
	if now, ok := f[slot]; ok {
		return !now[server]
	}
	slot.Addr = netip.Addr{}
	now, ok := f[slot]
	if !ok || now[server] {
		return false
	}
	// A node port's number may also be the port of a server elsewhere, whose
	// flows must stay: those are not translated to another server. An entry
	// without any translation is harmless to remove.
	untranslated := server == dst && addrPort(flow.Reverse.DstIP, flow.Reverse.DstPort) == src
	return server != dst || untranslated
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

func udpPlaces(s *model.Service) map[model.Slot]servers {
	out := map[model.Slot]servers{}
	if s == nil {
		return out
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Protocol != corev1.ProtocolUDP {
			continue
		}
		all := servers{}
		for _, pool := range [][]model.Endpoint{p.Cluster, p.Local} {
			for _, e := range pool {
				all[e.AddrPort] = true
			}
		}
		for j := range p.Frontends {
			out[p.Slot(&p.Frontends[j])] = all
		}
	}
	return out
}

func containsAll(all, some servers) bool {
	for s := range some {
		if !all[s] {
			return false
		}
	}
	return true
}
