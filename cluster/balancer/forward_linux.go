package balancer

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loseAfter ends a connection when what it sent was not acknowledged for so
// long: keep-alives are sent only while nothing waits for that (tcp(7)).
func loseAfter(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		}); failed != nil {
			return failed
		}
		return err
	}
}
