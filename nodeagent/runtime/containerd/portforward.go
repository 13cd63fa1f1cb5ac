//go:build linux

package containerd

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/vishvananda/netns"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// PortForward implements runtime.Runtime: a connection made from inside the
// sandbox's network namespace. A socket stays in the namespace it was made in,
// so only the thread that makes it has to go there.
func (r *Runtime) PortForward(ctx context.Context, sandboxID string, port int32) (io.ReadWriteCloser, error) {
	r.mu.Lock()
	s, ok := r.sandboxes[sandboxID]
	var path string
	if ok {
		path = s.NetNS
	}
	r.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("sandbox %q: %w", sandboxID, runtime.ErrNotFound)
	}
	var conn net.Conn
	connect := func() error {
		// One address family after the other: trying both at once would use
		// another goroutine, and with it another thread.
		dialer := &net.Dialer{FallbackDelay: -1}
		var err error
		for _, loopback := range []string{"127.0.0.1", "::1"} {
			c, dialErr := dialer.DialContext(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(int(port))))
			if dialErr == nil {
				conn = c
				return nil
			}
			if err == nil {
				err = dialErr
			}
		}
		return err
	}
	var err error
	if path == "" {
		err = connect()
	} else {
		err = onOwnThread(func() error {
			ns, err := netns.GetFromPath(path)
			if err != nil {
				return fmt.Errorf("open network namespace: %w", err)
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			return connect()
		})
	}
	if err != nil {
		return nil, fmt.Errorf("connect to port %d: %w", port, err)
	}
	return conn, nil
}
