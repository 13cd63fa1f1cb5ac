package conntrack

import (
	"fmt"
	"net/netip"

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
	before, after := places(old), places(new)
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
	t, err := openTable(c.NetNS)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		flows, err := t.list(family)
		if err != nil {
			return fmt.Errorf("list flows: %w", err)
		}
		for i := range flows {
			if c.stale(&flows[i]) {
				if err := t.remove(family, &flows[i]); err != nil {
					return fmt.Errorf("remove a stale flow: %w", err)
				}
			}
		}
	}
	c.noted = nil
	return nil
}

// stale tells whether the flow goes from a noted place to a server that is not its.
func (c *Cleaner) stale(f *flow) bool {
	protocol := corev1.ProtocolUDP
	switch f.protocol {
	case unix.IPPROTO_UDP:
	case unix.IPPROTO_SCTP:
		protocol = corev1.ProtocolSCTP
	default:
		return false
	}
	family := corev1.IPv4Protocol
	if f.to.Addr().Is6() {
		family = corev1.IPv6Protocol
	}
	slot := model.Slot{Addr: f.to.Addr(), Family: family, Protocol: protocol, Port: f.to.Port()}
	if now, ok := c.noted[slot]; ok {
		return !now[f.server]
	}
	slot.Addr = netip.Addr{}
	now, ok := c.noted[slot]
	if !ok || now[f.server] {
		return false
	}
	// A node port's number may also be the port of a server elsewhere, whose
	// flows must stay: those are not translated to another server. An entry
	// without any translation is harmless to remove.
	return f.server != f.to || f.back == f.from
}

// places returns the UDP and SCTP places of a service and the servers that
// their flows may go to. An SCTP association may be brought to its end by a
// server that drains; UDP clients would never leave it.
func places(s *model.Service) map[model.Slot]servers {
	out := map[model.Slot]servers{}
	if s == nil {
		return out
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		pools := [][]model.Endpoint{p.Cluster, p.Local}
		switch p.Protocol {
		case corev1.ProtocolUDP:
		case corev1.ProtocolSCTP:
			pools = append(pools, p.Draining)
		default:
			continue
		}
		all := servers{}
		for _, pool := range pools {
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
