package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/dump"
)

// portRule leads a host port to one address of a pod.
type portRule struct {
	HostPort
	to netip.Addr
}

// loopback is where a node's own clients look for host ports too.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

// afterServices is the priority of host ports' rules: an address of a service
// is a local one on the node that announces it, and wherever IPVS balances. The
// first that redirects a connection has it.
var afterServices = *nftables.ChainPriorityNATDest + 10

// rememberHostPorts takes those of a pod that an earlier agent has connected;
// the next write has them.
func (r *rules) rememberHostPorts(podID string, ips []netip.Addr, ports []HostPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ports[podID] = planHostPorts(ips, ports)
}

func (r *rules) setHostPorts(podID string, ips []netip.Addr, ports []HostPort) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, wanted := r.ports[podID], planHostPorts(ips, ports)
	if slices.Equal(wanted, old) {
		return nil
	}
	r.ports[podID] = wanted
	if len(wanted) == 0 {
		delete(r.ports, podID)
	}
	if err := r.write(); err != nil {
		return err
	}
	if slices.ContainsFunc(wanted, func(p portRule) bool { return p.to.Is4() }) {
		if err := r.letLoopbackOut(); err != nil {
			return err
		}
	}
	return forgetFlows(old, wanted)
}

// letLoopbackOut has the kernel send what came from 127.0.0.0/8 on to a pod. It
// then also takes such addresses from pods, which filter-prerouting drops.
func (r *rules) letLoopbackOut() error {
	file := filepath.Join("/proc/sys/net/ipv4/conf", r.iface, "route_localnet")
	if err := os.WriteFile(file, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("have host ports reached at 127.0.0.1: %w", err)
	}
	return nil
}

// planHostPorts leads each port to the pod's addresses of the same IP version.
func planHostPorts(ips []netip.Addr, ports []HostPort) []portRule {
	var wanted []portRule
	for _, p := range ports {
		for _, ip := range ips {
			if !p.HostIP.IsValid() || p.HostIP.Is4() == ip.Is4() {
				wanted = append(wanted, portRule{HostPort: p, to: ip})
			}
		}
	}
	return wanted
}

func (r *rules) writeHostPorts(w *tableWriter, post *nftables.Chain) {
	if len(r.ports) == 0 {
		return
	}
	pre := w.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, &afterServices)
	out := w.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, &afterServices)
	w.rule(post, address(loopback, true, expr.CmpOpEq), outInterface(r.iface, expr.CmpOpEq), masquerade())
	for _, ports := range r.ports {
		for _, p := range ports {
			w.rule(pre, p.exprs())
			w.rule(out, p.exprs())
			// A pod that comes back to itself needs another source.
			alone := netip.PrefixFrom(p.to, p.to.BitLen())
			w.rule(post, address(alone, true, expr.CmpOpEq), address(alone, false, expr.CmpOpEq)[2:], masquerade())
		}
	}
}

// anyAddress says that the port is one of all the node's addresses.
func (p HostPort) anyAddress() bool { return !p.HostIP.IsValid() || p.HostIP.IsUnspecified() }

// number is the protocol's, of IANA.
func (p HostPort) number() byte {
	return map[string]byte{"": unix.IPPROTO_TCP, "TCP": unix.IPPROTO_TCP, "UDP": unix.IPPROTO_UDP, "SCTP": unix.IPPROTO_SCTP}[p.Protocol]
}

// exprs: to an address of this node, protocol and port → the pod.
func (p portRule) exprs() []expr.Any {
	var exprs []expr.Any
	if p.anyAddress() {
		exprs = append(family(p.to.Is4()),
			&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
	} else {
		exprs = address(netip.PrefixFrom(p.HostIP, p.HostIP.BitLen()), false, expr.CmpOpEq)
	}
	nfproto := uint32(unix.NFPROTO_IPV6)
	if p.to.Is4() {
		nfproto = unix.NFPROTO_IPV4
	}
	return append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.number()}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p.HostPort.HostPort)},
		&expr.Immediate{Register: 1, Data: p.to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(p.ContainerPort)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: nfproto, RegAddrMin: 1, RegProtoMin: 2},
	)
}

// forgetFlows removes what the kernel remembers of UDP and SCTP host ports that
// lead elsewhere now: a client that goes on sending from the same port would
// stay with the pod that is gone, or with the node from before there was one.
func forgetFlows(old, wanted []portRule) error {
	f := flowFilter{gone: map[netip.Addr]bool{}}
	for _, p := range old {
		if p.number() != unix.IPPROTO_TCP {
			f.gone[p.to] = true
		}
	}
	for _, p := range wanted {
		if p.number() != unix.IPPROTO_TCP {
			f.taken = append(f.taken, p)
			delete(f.gone, p.to)
		}
	}
	if len(f.gone)+len(f.taken) == 0 {
		return nil
	}
	var err error
	if f.local, err = localAddresses(); err != nil {
		return err
	}
	for _, ipVersion := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, ipVersion, &f); err != nil {
			return fmt.Errorf("forget flows of host ports: %w", err)
		}
	}
	return nil
}

func localAddresses() (map[netip.Addr]bool, error) {
	list, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			out[ip.Unmap()] = true
		}
	}
	return out, nil
}

// flowFilter chooses the flows of host ports that are to be forgotten.
type flowFilter struct {
	gone  map[netip.Addr]bool // addresses of pods that had host ports
	taken []portRule
	local map[netip.Addr]bool // the node's addresses
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter. Ports are known of
// UDP alone.
func (f *flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP && flow.Forward.Protocol != unix.IPPROTO_SCTP {
		return false
	}
	to, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	server, _ := netip.AddrFromSlice(flow.Reverse.SrcIP)
	to, server = to.Unmap(), server.Unmap()
	if f.gone[server] && to != server {
		return true
	}
	return slices.ContainsFunc(f.taken, func(p portRule) bool {
		return p.number() == flow.Forward.Protocol && p.HostPort.HostPort == flow.Forward.DstPort && p.to != server &&
			(p.HostIP == to || p.anyAddress() && f.local[to])
	})
}
