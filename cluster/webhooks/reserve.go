package webhooks

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Reservation keeps a port for a server that listens later. No other process,
// and no other test of this one, is given the port meanwhile.
type Reservation struct {
	Port   int
	socket int
}

// Reserve takes a free TCP port of an address. Its socket is bound and never
// listens, so that a server that reuses addresses, as all of Go's do, can.
func Reserve(host string) (*Reservation, error) {
	ip := net.ParseIP(host)
	if ip == nil {
		return nil, fmt.Errorf("reserve a port: %q is not an IP address", host)
	}
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: [16]byte(ip.To16())})
	if v4 := ip.To4(); v4 != nil {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte(v4)}
	}
	s, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	r := &Reservation{socket: s}
	if err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		err = unix.Bind(s, address)
	}
	if err != nil {
		r.Release()
		return nil, fmt.Errorf("reserve a port of %s: %w", host, err)
	}
	bound, err := unix.Getsockname(s)
	if err != nil {
		r.Release()
		return nil, fmt.Errorf("reserve a port of %s: %w", host, err)
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		r.Port = a.Port
	case *unix.SockaddrInet6:
		r.Port = a.Port
	}
	return r, nil
}

// Release gives the port back.
func (r *Reservation) Release() { _ = unix.Close(r.socket) }
