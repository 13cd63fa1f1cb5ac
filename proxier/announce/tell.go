package announce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/netns"
)

// tell makes the neighbours on the link send what is for addr to this node.
func (a *Announcer) tell(link *netlink.LinkAttrs, addr netip.Addr) error {
	if len(link.HardwareAddr) != 6 {
		return nil // a link without neighbours
	}
	return netns.Do(a.NetNS, func() error {
		if addr.Is4() {
			return tellARP(link, addr)
		}
		return tellNDP(link, addr)
	})
}

// tellARP broadcasts a gratuitous ARP request (RFC 5227, section 3).
func tellARP(link *netlink.LinkAttrs, addr netip.Addr) (err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	const ethernet, request = 1, 1
	p := binary.BigEndian.AppendUint16(nil, ethernet)
	p = binary.BigEndian.AppendUint16(p, unix.ETH_P_IP)
	p = append(p, 6, 4)
	p = binary.BigEndian.AppendUint16(p, request)
	p = append(append(p, link.HardwareAddr...), addr.AsSlice()...)
	p = append(append(p, make([]byte, 6)...), addr.AsSlice()...)
	to := &unix.SockaddrLinklayer{
		Protocol: htons(unix.ETH_P_ARP), Ifindex: link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	if err := unix.Sendto(fd, p, 0, to); err != nil {
		return fmt.Errorf("send gratuitous ARP: %w", err)
	}
	return nil
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// tellNDP sends an unsolicited neighbour advertisement to all nodes (RFC 4861,
// section 7.2.6).
func tellNDP(link *netlink.LinkAttrs, addr netip.Addr) (err error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return fmt.Errorf("open ICMPv6 socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	const advertisement, override, targetLinkLayer, hopLimit = 136, 0x20, 2, 255
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hopLimit); err != nil {
		return fmt.Errorf("set hop limit: %w", err)
	}
	p := []byte{advertisement, 0, 0, 0, override, 0, 0, 0} // the kernel fills in the checksum
	p = append(p, addr.AsSlice()...)
	p = append(append(p, targetLinkLayer, 1), link.HardwareAddr...)
	to := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(link.Index)}
	if err := unix.Sendto(fd, p, 0, to); err != nil {
		return fmt.Errorf("send neighbour advertisement: %w", err)
	}
	return nil
}
