//go:build !linux

package balancer

import (
	"syscall"
	"time"
)

// loseAfter leaves it to the system after how long a connection is lost.
func loseAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
