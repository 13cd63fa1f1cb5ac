package announce

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/dump"
	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/proxier/ipvs"
	"github.com/skiffcluster/skiff/proxier/sysctl"
)

// uplink finds the link where addr belongs: one whose network has it, or else
// the one of the default route. It runs in the node's network namespace.
func uplink(addr netip.Addr) (netlink.Link, error) {
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, family) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		if ones, bits := a.Mask.Size(); ones < bits && a.Contains(net.IP(addr.AsSlice())) {
			return netlink.LinkByIndex(a.LinkIndex)
		}
	}
	routes, err := dump.Whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if (r.Dst == nil || r.Dst.IP.IsUnspecified()) && r.LinkIndex > 0 {
			return netlink.LinkByIndex(r.LinkIndex)
		}
	}
	return nil, fmt.Errorf("no link has the network of %s, and there is no default route", addr)
}

// prepare keeps the node from answering for addresses that are local but on
// another link: with IPVS every node has all of them.
func (a *Announcer) prepare(addr netip.Addr) error {
	return netns.Do(a.NetNS, func() error {
		link, err := uplink(addr)
		if err != nil || addr.Is6() {
			return err
		}
		conf := "net.ipv4.conf." + link.Attrs().Name + "."
		return sysctl.Set("",
			sysctl.Setting{Name: conf + "arp_ignore", Value: "1"},
			sysctl.Setting{Name: conf + "arp_announce", Value: "2"})
	})
}

func hostAddr(addr netip.Addr) *netlink.Addr {
	// Deprecated from the start: never the source of the node's own packets.
	out := &netlink.Addr{IPNet: netlink.NewIPNet(addr.AsSlice()), ValidLft: math.MaxUint32}
	if addr.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return out
}

// bind puts the address on the uplink.
func (a *Announcer) bind(addr netip.Addr) (*netlink.LinkAttrs, error) {
	var found *netlink.LinkAttrs
	err := netns.Do(a.NetNS, func() error {
		link, err := uplink(addr)
		if err != nil {
			return err
		}
		found = link.Attrs()
		if err := netlink.AddrAdd(link, hostAddr(addr)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add %s to %s: %w", addr, found.Name, err)
		}
		return nil
	})
	return found, err
}

// release takes the address from the link that has it.
func (a *Announcer) release(addr netip.Addr) error {
	return a.releaseIf(func(found netip.Addr) bool { return found == addr })
}

// Release takes every address of the pool away, while Run does not run.
func (a *Announcer) Release() error { return a.releaseIf(a.Pool.Contains) }

func (a *Announcer) releaseIf(want func(netip.Addr) bool) error {
	return netns.Do(a.NetNS, func() error {
		list, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, found := range list {
			addr, _ := netip.AddrFromSlice(found.IP)
			ones, bits := found.Mask.Size()
			link, err := netlink.LinkByIndex(found.LinkIndex)
			// The proxier's own link has all service addresses.
			if err != nil || ones != bits || !want(addr.Unmap()) || link.Attrs().Name == ipvs.LinkName {
				continue
			}
			if err := netlink.AddrDel(link, &found); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("remove %s from %s: %w", addr, link.Attrs().Name, err)
			}
		}
		return nil
	})
}
