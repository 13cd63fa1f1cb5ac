package dns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/dump"
)

// LinkName is the link that carries the cluster DNS address.
const LinkName = "skiff-dns"

// BindAddress puts an address, as a host route, on a link of ours in the
// network namespace at path (empty: the process's own), so that this node
// itself answers there. The link is a dummy, or a bridge without ports where the
// kernel has no dummies. The returned function takes the address away again;
// [Cleanup] does when nobody is left who could call it.
func BindAddress(path string, a netip.Addr) (release func() error, err error) {
	h, err := openLinks(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	link, err := ensureLink(h)
	if err != nil {
		return nil, fmt.Errorf("make a link for %s: %w", a, err)
	}
	addr := &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("add %s to %s: %w", a, link.Attrs().Name, err)
	}
	return func() error {
		return withLink(path, func(h *netlink.Handle, link netlink.Link) error { return unbind(h, link, addr) })
	}, nil
}

// Cleanup removes what a process that was killed has left in the network
// namespace at path (empty: the process's own).
func Cleanup(path string) error {
	return withLink(path, removeLink)
}

// withLink calls f with our link, if it is there.
func withLink(path string, f func(h *netlink.Handle, link netlink.Link) error) error {
	h, err := openLinks(path)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(LinkName)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", LinkName, err)
	}
	return f(h, link)
}

func removeLink(h *netlink.Handle, link netlink.Link) error {
	if err := h.LinkDel(link); err != nil {
		return fmt.Errorf("remove link %s: %w", LinkName, err)
	}
	return nil
}

func openLinks(path string) (*netlink.Handle, error) {
	ns := netns.None()
	if path != "" {
		var err error
		if ns, err = netns.GetFromPath(path); err != nil {
			return nil, fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}

func ensureLink(h *netlink.Handle) (netlink.Link, error) {
	link, err := h.LinkByName(LinkName)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		attrs := netlink.LinkAttrs{Name: LinkName}
		err = h.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			err = h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
		}
		if err == nil || errors.Is(err, unix.EEXIST) {
			link, err = h.LinkByName(LinkName)
		}
	}
	if err != nil {
		return nil, err
	}
	return link, h.LinkSetUp(link)
}

// unbind removes the address, and our link when it was the last.
func unbind(h *netlink.Handle, link netlink.Link, addr *netlink.Addr) error {
	if err := h.AddrDel(link, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %s from %s: %w", addr.IP, LinkName, err)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rest, err := dump.Whole(func() ([]netlink.Addr, error) { return h.AddrList(link, family) })
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", LinkName, err)
		}
		for _, a := range rest {
			if !a.IP.IsLinkLocalUnicast() {
				return nil
			}
		}
	}
	return removeLink(h, link)
}
