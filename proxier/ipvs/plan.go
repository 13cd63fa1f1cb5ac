package ipvs

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/model"
)

// place identifies a virtual server.
type place struct {
	addr     netip.Addr
	protocol byte
	port     uint16
}

// virtual is a virtual server as it should be or as it is.
type virtual struct {
	scheduler string
	// persistence is for how many seconds a client stays with its server; 0 is not.
	persistence uint32
	servers     map[netip.AddrPort]server
}

// server is a real server; its weight is 1, or 0 while it drains.
type server struct {
	weight      int
	connections int
}

// plan returns the virtual servers of a service on a node with these local addresses.
func plan(s *model.Service, scheduler string, local []netip.Addr) map[place]*virtual {
	out := map[place]*virtual{}
	if s == nil {
		return out
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		for j := range p.Frontends {
			f := &p.Frontends[j]
			v := &virtual{scheduler: scheduler, persistence: uint32(p.Affinity.Seconds()), servers: map[netip.AddrPort]server{}}
			for _, e := range p.Outside(f) {
				v.servers[e.AddrPort] = server{weight: 1}
			}
			for _, a := range addrsOf(p, f, local) {
				out[place{a, firewall.Protocol(p.Protocol), f.Port}] = v
			}
		}
	}
	return out
}

func addrsOf(p *model.Port, f *model.Frontend, local []netip.Addr) []netip.Addr {
	if f.Kind != model.NodePort {
		return []netip.Addr{f.Addr}
	}
	var out []netip.Addr
	for _, a := range local {
		if a.Is4() == (p.Family == corev1.IPv4Protocol) {
			out = append(out, a)
		}
	}
	return out
}

// vips returns the addresses that a service needs on our link.
func vips(s *model.Service) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	if s == nil {
		return out
	}
	for i := range s.Ports {
		for _, f := range s.Ports[i].Frontends {
			if f.Kind != model.NodePort && !f.OwnAddr {
				out[f.Addr] = true
			}
		}
	}
	return out
}
