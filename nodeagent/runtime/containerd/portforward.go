//go:build linux

package containerd

import (
	"context"
	"fmt"
	"io"
	"net"
	goruntime "runtime"
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
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		if path != "" {
			// Never unlocked: the thread ends with the goroutine.
			goruntime.LockOSThread()
			ns, err := netns.GetFromPath(path)
			if err != nil {
				done <- result{err: fmt.Errorf("open network namespace: %w", err)}
				return
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				done <- result{err: fmt.Errorf("enter network namespace: %w", err)}
				return
			}
		}
		// One address family at a time: trying both at once would use another
		// goroutine, and with it another thread.
		conn, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err != nil {
			if six, err6 := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 == nil {
				conn, err = six, nil
			}
		}
		done <- result{conn, err}
	}()
	res := <-done
	if res.err != nil {
		return nil, fmt.Errorf("connect to port %d: %w", port, res.err)
	}
	return res.conn, nil
}
