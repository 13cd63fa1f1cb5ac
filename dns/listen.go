package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/internal/netns"
)

// sockets are the UDP and the TCP socket of one address.
type sockets struct {
	udp net.PacketConn
	tcp net.Listener
}

// listen opens both sockets at one port. For port 0 one is looked for that is
// free for both.
func listen(netNS, addr string) (*sockets, error) {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w", addr, err)
	}
	for try := 0; ; try++ {
		l := &sockets{}
		err := netns.Do(netNS, func() (err error) {
			if l.tcp, err = net.Listen("tcp", addr); err != nil {
				return err
			}
			l.udp, err = net.ListenPacket("udp", l.tcp.Addr().String())
			return err
		})
		if err == nil {
			return l, nil
		}
		l.close()
		if want.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) || try == 20 {
			return nil, err
		}
	}
}

func (l *sockets) address() string { return l.tcp.Addr().String() }

func (l *sockets) close() {
	if l.udp != nil {
		_ = l.udp.Close()
	}
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
}

// serve answers on both sockets until ctx ends; a socket that fails before is told.
func (l *sockets) serve(ctx context.Context, running *sync.WaitGroup, h dns.Handler, failed chan<- error) {
	for _, s := range []*dns.Server{{PacketConn: l.udp, Handler: h}, {Listener: l.tcp, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		ended := make(chan struct{})
		running.Go(func() {
			defer close(ended)
			if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
		running.Go(func() {
			<-ctx.Done()
			select {
			case <-started:
				_ = s.Shutdown() // waits for the queries under way
			case <-ended:
			}
		})
	}
}
