package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// lost is for how long a machine may not acknowledge what it was sent until a
// connection that is passed on to it ends. Its kernel does that, however busy its
// processes are.
const lost = 4 * time.Second

// newSteadfast gives the dialer of connections that are passed on. Their clients
// may say nothing for hours, and the end of a machine must not leave them waiting.
func newSteadfast() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: lost / 2, Interval: lost / 4, Count: 2},
		Control:         loseAfter(lost),
	}
}

// Forward passes each connection that l accepts on to the server in use, or to
// the next that takes it, until ctx ends. It does not look into them: TLS is
// between the two ends.
func (b *Balancer) Forward(ctx context.Context, l net.Listener) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			group.Go(func() { b.pass(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connections: %w", err)
		default: // of one connection, or the process has too many files open
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// pass is one connection until either end ends it.
func (b *Balancer) pass(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := b.dial(ctx, "tcp", b.through.DialContext)
	if err != nil {
		return // nobody answers, which the client sees
	}
	stop := context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		_, _ = io.Copy(server, client) // whatever ends it
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
	_, _ = client.Close(), server.Close()
}
