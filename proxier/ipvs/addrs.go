package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/dump"
	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/nft"
)

// LinkName is the link that carries service addresses: the name that
// kube-proxy uses, which network plugins leave alone.
const LinkName = "kube-ipvs0"

// ensureLink finds or makes the link: a dummy, or a bridge without ports on
// kernels that have no dummies. It stays down: addresses are local all the same.
func (b *Backend) ensureLink() error {
	link, err := b.links.LinkByName(LinkName)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		attrs := netlink.LinkAttrs{Name: LinkName}
		if err = b.links.LinkAdd(&netlink.Dummy{LinkAttrs: attrs}); err != nil {
			err = b.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
		}
		if err == nil {
			link, err = b.links.LinkByName(LinkName)
		}
	}
	if err != nil {
		return fmt.Errorf("make link %s: %w", LinkName, err)
	}
	b.link = link
	return nil
}

// linkAddrs returns the addresses on our link.
func (b *Backend) linkAddrs() (map[netip.Addr]bool, error) {
	list, err := dump.Whole(func() ([]netlink.Addr, error) { return b.links.AddrList(b.link, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", LinkName, err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.IsLinkLocalUnicast() {
			out[ip.Unmap()] = true
		}
	}
	return out, nil
}

// repairAddrs makes the link's addresses those of the services.
func (b *Backend) repairAddrs() (int, error) {
	have, err := b.linkAddrs()
	if err != nil {
		return 0, err
	}
	var missing, stale []netip.Addr
	for a := range b.bound {
		if !have[a] {
			missing = append(missing, a)
		}
	}
	for a := range have {
		if b.bound[a] == 0 {
			stale = append(stale, a)
		}
	}
	if err := b.bind(missing); err != nil {
		return 0, err
	}
	if err := b.unbind(stale); err != nil {
		return len(missing), err
	}
	return len(missing) + len(stale), nil
}

func (b *Backend) bind(addrs []netip.Addr) error {
	for _, a := range addrs {
		if err := b.links.AddrAdd(b.link, hostAddr(a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add %s to %s: %w", a, LinkName, err)
		}
	}
	return nil
}

func (b *Backend) unbind(addrs []netip.Addr) error {
	for _, a := range addrs {
		if b.bound[a] > 0 {
			continue // it went from one service to another
		}
		if err := b.links.AddrDel(b.link, hostAddr(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %s from %s: %w", a, LinkName, err)
		}
	}
	return nil
}

func hostAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// readLocal reads the node's addresses that serve node ports.
func (b *Backend) readLocal() error {
	links, err := dump.Whole(b.links.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	ours := -1
	for _, l := range links {
		if l.Attrs().Name == LinkName {
			ours = l.Attrs().Index
		}
	}
	list, err := dump.Whole(func() ([]netlink.Addr, error) { return b.links.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	b.local = nil
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if ok && a.LinkIndex != ours && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && b.servesNodePorts(ip) {
			b.local = append(b.local, ip)
		}
	}
	slices.SortFunc(b.local, netip.Addr.Compare)
	b.local = slices.Compact(b.local)
	return nil
}

func (b *Backend) servesNodePorts(ip netip.Addr) bool {
	return len(b.cfg.NodePortAddresses) == 0 || slices.ContainsFunc(b.cfg.NodePortAddresses, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Cleanup removes from the network namespace at path the virtual servers on
// our link's addresses and on our node ports, the link and the tables.
func Cleanup(path string) error {
	links, err := openLinks(path)
	if err != nil {
		return err
	}
	defer links.Close()
	conn, err := nft.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := removeServers(path); err != nil {
		return err
	}
	if link, err := links.LinkByName(LinkName); err == nil {
		if err := links.LinkDel(link); err != nil {
			return fmt.Errorf("remove link %s: %w", LinkName, err)
		}
	}
	if err := nft.Remove(conn, nft.Table{Family: nft.IP, Name: TableName}, nft.Table{Family: nft.IP6, Name: TableName}); err != nil {
		return fmt.Errorf("remove tables %s: %w", TableName, err)
	}
	return nil
}

func removeServers(path string) error {
	b, err := Open(Config{Config: backend.Config{NetNS: path}})
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	if err := b.readLocal(); err != nil {
		return err
	}
	if err := b.adopt(); err != nil {
		return err
	}
	_, err = b.repair() // nothing is wanted
	return err
}

// Present tells whether this backend left rules in the network namespace at path.
func Present(path string) bool {
	conn, err := nft.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	for _, family := range []nft.Family{nft.IP, nft.IP6} {
		if ok, err := conn.HasTable(nft.Table{Family: family, Name: TableName}); err == nil && ok {
			return true
		}
	}
	return false
}
