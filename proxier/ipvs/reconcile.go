package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/nft"

	corev1 "k8s.io/api/core/v1"
)

// persistent is IP_VS_SVC_F_PERSISTENT.
const persistent = 0x1

// adopt finds the virtual servers that an earlier process of ours left: those
// on addresses of our link, and on node ports that our table names.
func (b *Backend) adopt() error {
	if err := b.ensureLink(); err != nil {
		return err
	}
	ours := map[netip.Addr]bool{}
	onLink, err := b.linkAddrs()
	if err != nil {
		return err
	}
	for a := range onLink {
		ours[a] = true
	}
	nodePorts := map[string]bool{}
	for _, t := range b.tables {
		if exists, err := b.conn.HasTable(t.ref); err != nil || !exists {
			continue
		}
		// A set that is not there has no node ports to tell.
		_ = b.conn.Elements(t.nodePorts, func(e nft.Element) { nodePorts[string(e.Key)] = true })
	}
	services, err := b.ipvs.GetServices()
	if err != nil {
		return fmt.Errorf("list virtual servers: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, a := range b.local {
		local[a] = true
	}
	for _, s := range services {
		p := placeOf(s)
		key := firewall.PortKey(protocolName(p.protocol), p.port)
		if ours[p.addr] || (local[p.addr] && nodePorts[string(key)]) {
			b.have[p] = &virtual{}
		}
	}
	return nil
}

// repair reads what the kernel has and makes it what is wanted. It returns the
// number of things that had to be changed.
func (b *Backend) repair() (int, error) {
	b.sure = false
	if err := b.ensureLink(); err != nil {
		return 0, err
	}
	n, err := b.repairAddrs()
	if err != nil {
		return n, err
	}
	if err := b.read(); err != nil {
		return n, err
	}
	for p := range b.want {
		m, err := b.reconcile(p)
		n += m
		if err != nil {
			return n, err
		}
	}
	for p := range b.have {
		if b.want[p] == nil {
			m, err := b.reconcile(p)
			n += m
			if err != nil {
				return n, err
			}
		}
	}
	b.sure = true
	return n, nil
}

// read replaces have by what the kernel has of what is ours.
func (b *Backend) read() error {
	services, err := b.ipvs.GetServices()
	if err != nil {
		return fmt.Errorf("list virtual servers: %w", err)
	}
	have := map[place]*virtual{}
	for _, s := range services {
		p := placeOf(s)
		if s.FWMark != 0 || (b.want[p] == nil && b.have[p] == nil) {
			continue
		}
		v := &virtual{scheduler: s.SchedName, servers: map[netip.AddrPort]server{}}
		if s.Flags&persistent != 0 {
			v.persistence = s.Timeout
		}
		dests, err := b.ipvs.GetDestinations(s)
		if err != nil {
			return fmt.Errorf("list servers of %s: %w", p, err)
		}
		for _, d := range dests {
			a, _ := netip.AddrFromSlice(d.Address)
			v.servers[netip.AddrPortFrom(a.Unmap(), d.Port)] = server{weight: d.Weight, connections: d.ActiveConnections + d.InactiveConnections}
		}
		have[p] = v
	}
	b.have = have
	return nil
}

// reconcile makes one virtual server what is wanted; it returns how many
// writes that took.
func (b *Backend) reconcile(p place) (int, error) {
	want, have := b.want[p], b.have[p]
	service := serviceOf(p, want)
	writes := 0
	switch {
	case want == nil && have == nil:
		return 0, nil
	case want == nil:
		if err := b.ipvs.DelService(service); err != nil && !gone(err) {
			return 0, fmt.Errorf("delete virtual server %s: %w", p, err)
		}
		delete(b.have, p)
		delete(b.drained, p)
		return 1, nil
	case have == nil:
		if err := b.ipvs.NewService(service); err != nil {
			return 0, fmt.Errorf("add virtual server %s: %w", p, err)
		}
		have = &virtual{scheduler: want.scheduler, persistence: want.persistence, servers: map[netip.AddrPort]server{}}
		b.have[p] = have
		writes++
	case have.scheduler != want.scheduler || have.persistence != want.persistence:
		if err := b.ipvs.UpdateService(service); err != nil {
			return 0, fmt.Errorf("update virtual server %s: %w", p, err)
		}
		have.scheduler, have.persistence = want.scheduler, want.persistence
		writes++
	}
	for a := range want.servers {
		is, exists := have.servers[a]
		delete(b.drained[p], a)
		if exists && is.weight == 1 {
			continue
		}
		set := b.ipvs.NewDestination
		if exists {
			set = b.ipvs.UpdateDestination
		}
		if err := set(service, destination(a, 1)); err != nil {
			return writes, fmt.Errorf("add server %s to %s: %w", a, p, err)
		}
		have.servers[a] = server{weight: 1}
		writes++
	}
	for a, is := range have.servers {
		if _, wanted := want.servers[a]; wanted {
			continue
		}
		n, err := b.retire(p, service, a, is)
		writes += n
		if err != nil {
			return writes, err
		}
	}
	return writes, nil
}

// retire takes a server out of use: UDP at once, as its clients would never
// end; others when their connections have ended.
func (b *Backend) retire(p place, service *ipvs.Service, a netip.AddrPort, is server) (int, error) {
	if p.protocol == unix.IPPROTO_UDP {
		return 1, b.remove(p, service, a)
	}
	if b.drained[p] == nil {
		b.drained[p] = map[netip.AddrPort]time.Time{}
	}
	if _, known := b.drained[p][a]; !known {
		b.drained[p][a] = b.cfg.Now()
	}
	if is.weight == 0 {
		return 0, nil
	}
	if err := b.ipvs.UpdateDestination(service, destination(a, 0)); err != nil && !gone(err) {
		return 0, fmt.Errorf("drain server %s of %s: %w", a, p, err)
	}
	is.weight = 0
	b.have[p].servers[a] = is
	return 1, nil
}

func (b *Backend) remove(p place, service *ipvs.Service, a netip.AddrPort) error {
	if err := b.ipvs.DelDestination(service, destination(a, 0)); err != nil && !gone(err) {
		return fmt.Errorf("remove server %s of %s: %w", a, p, err)
	}
	delete(b.have[p].servers, a)
	delete(b.drained[p], a)
	return nil
}

// removeDrained removes servers whose connections have ended or whose time is up.
func (b *Backend) removeDrained() error {
	now := b.cfg.Now()
	for p, servers := range b.drained {
		for a, since := range servers {
			is, exists := b.have[p].servers[a]
			if exists && is.connections > 0 && now.Sub(since) < DrainTime {
				continue
			}
			if err := b.remove(p, serviceOf(p, b.have[p]), a); err != nil {
				return err
			}
		}
		if len(servers) == 0 {
			delete(b.drained, p)
		}
	}
	return nil
}

func (p place) String() string {
	return fmt.Sprintf("%s %s", protocolName(p.protocol), netip.AddrPortFrom(p.addr, p.port))
}

func serviceOf(p place, v *virtual) *ipvs.Service {
	s := &ipvs.Service{Address: net.IP(p.addr.AsSlice()), Protocol: uint16(p.protocol), Port: p.port, AddressFamily: unix.AF_INET, Netmask: 0xffffffff}
	if p.addr.Is6() {
		s.AddressFamily, s.Netmask = unix.AF_INET6, 128
	}
	if v != nil {
		s.SchedName = v.scheduler
		if v.persistence > 0 {
			s.Flags, s.Timeout = persistent, v.persistence
		}
	}
	return s
}

func placeOf(s *ipvs.Service) place {
	a, _ := netip.AddrFromSlice(s.Address)
	return place{addr: a.Unmap(), protocol: byte(s.Protocol), port: s.Port}
}

func destination(a netip.AddrPort, weight int) *ipvs.Destination {
	d := &ipvs.Destination{
		Address: net.IP(a.Addr().AsSlice()), Port: a.Port(), Weight: weight,
		ConnectionFlags: ipvs.ConnectionFlagMasq, AddressFamily: unix.AF_INET,
	}
	if a.Addr().Is6() {
		d.AddressFamily = unix.AF_INET6
	}
	return d
}

func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

func protocolName(p byte) corev1.Protocol {
	switch p {
	case unix.IPPROTO_UDP:
		return corev1.ProtocolUDP
	case unix.IPPROTO_SCTP:
		return corev1.ProtocolSCTP
	}
	return corev1.ProtocolTCP
}
