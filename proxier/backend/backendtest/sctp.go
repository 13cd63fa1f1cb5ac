package backendtest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sctpPort is where pods answer by SCTP, as in answers.
const sctpPort = ":8132"

// Package net knows no SCTP, but one-to-one sockets behave as TCP's once they
// are made.
func sctpSocket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
}

// serveSCTP makes pods answer by SCTP with their name; it skips the test where
// the kernel has no SCTP.
func (l *lab) serveSCTP() {
	l.Helper()
	probe, err := sctpSocket(unix.AF_INET6)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		l.Skip("this kernel has no SCTP")
	}
	l.must(errors.Join(err, unix.Close(probe)))
	for i := range l.pod {
		l.in(l.pod[i], func() {
			fd, err := sctpSocket(unix.AF_INET6)
			l.must(err)
			l.must(unix.Bind(fd, &unix.SockaddrInet6{Port: 8132}))
			l.must(unix.Listen(fd, 64))
			go func() {
				for {
					c, _, err := unix.Accept(fd)
					if err != nil {
						return
					}
					_, _ = unix.Write(c, fmt.Appendf(nil, "%s%s\n", podName(i), sctpPort))
					_ = unix.Close(c)
				}
			}()
			l.Cleanup(func() {
				_ = unix.Shutdown(fd, unix.SHUT_RDWR)
				_ = unix.Close(fd)
			})
		})
	}
}

// dialSCTP connects within the current network namespace.
func dialSCTP(addr string, fromPort int, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	family, sa, own := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}), unix.Sockaddr(&unix.SockaddrInet6{Port: fromPort})
	if to.Addr().Is4() {
		family, sa, own = unix.AF_INET, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}, &unix.SockaddrInet4{Port: fromPort}
	}
	fd, err := sctpSocket(family)
	if err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(timeout.Nanoseconds())
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv), unix.Bind(fd, own))
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect by SCTP: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer func() { _ = f.Close() }()
	return net.FileConn(f)
}
