package backendtest

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// outOfWindow: what a server sends by mistake outside of its connection's window
// has no state for the kernel, which does not translate it. The client would see
// a packet from an address that it does not know, answer with a reset, and that
// one ends the server's side.
func outOfWindow(l *lab, _ Options) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0})
	l.apply()
	c, err := l.dial(l.pod[1], "tcp", vip+":80", 0, patience)
	l.must(err)
	defer func() { _ = c.Close() }()
	server := netip.AddrPortFrom(netip.MustParseAddr(podIP(0)), 8080)
	client := netip.AddrPortFrom(netip.MustParseAddr(podIP(1)), uint16(c.LocalAddr().(*net.TCPAddr).Port)) //nolint:gosec // a port
	var seen int
	l.in(l.pod[1], func() {
		seen, err = rawTCP()
		l.must(err)
	})
	defer func() { _ = unix.Close(seen) }()
	l.in(l.pod[0], func() {
		fd, err := rawTCP()
		l.must(err)
		defer func() { _ = unix.Close(fd) }()
		for i := range 10 {
			l.must(unix.Sendto(fd, ack(server, client, 0x1000_0000*uint32(i+1)), 0, &unix.SockaddrInet4{Addr: client.Addr().As4()})) //nolint:gosec // small
		}
	})
	l.must(c.echo()) // after them on the same way
	buf := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(seen, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		l.must(err)
		if from, _ := netip.AddrFromSlice(buf[12:16]); n >= 20 && from == server.Addr() {
			l.Errorf("the client sees a packet of %s, which it did not connect to", from)
			return
		}
	}
}

// rawTCP sends TCP segments as they are, and sees those that come in.
func rawTCP() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
}

// ack is a segment without data (RFC 9293, 3.1).
func ack(from, to netip.AddrPort, sequence uint32) []byte {
	s := make([]byte, 20)
	binary.BigEndian.PutUint16(s[0:], from.Port())
	binary.BigEndian.PutUint16(s[2:], to.Port())
	binary.BigEndian.PutUint32(s[4:], sequence)
	binary.BigEndian.PutUint32(s[8:], sequence)
	s[12], s[13] = 5<<4, 0x10 // its length in words; ACK
	binary.BigEndian.PutUint16(s[14:], 1024)
	// The checksum is of a header of addresses too (RFC 9293, 3.1).
	var sum uint32
	header := append(append(from.Addr().AsSlice(), to.Addr().AsSlice()...), 0, unix.IPPROTO_TCP, 0, byte(len(s)))
	for b := append(header, s...); len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(s[16:], ^uint16(sum)) //nolint:gosec // folded
	return s
}
