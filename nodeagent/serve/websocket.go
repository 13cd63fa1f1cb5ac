package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// upgraded serves streams in all protocols. The fifth version of remote
// commands over WebSocket, and port-forward tunnelled through WebSocket, are
// turned into SPDY by the library that the API server does it with, which wants
// a server of SPDY to talk to: that is inner, in this process.
func (s *Server) upgraded() http.Handler {
	plain := s.streams()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		location := &url.URL{Scheme: "http", Host: "node", Path: r.URL.Path, RawQuery: r.URL.RawQuery}
		switch {
		case wsstream.IsWebSocketRequestWithStreamCloseProtocol(r):
			o, err := remotecommand.NewOptions(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			streamproxy.NewStreamTranslatorHandler(location, s.inner.transport, 0,
				streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}).ServeHTTP(w, r)
		case wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
			onward := utilproxy.NewUpgradeAwareHandler(location, s.inner.transport, false, true, refuse{})
			streamproxy.NewTunnelingHandler(onward).ServeHTTP(w, r)
		default:
			plain.ServeHTTP(w, r)
		}
	})
}

// refuse answers what could not be passed on.
type refuse struct{}

func (refuse) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// inner is a server that only this process reaches. Who comes here has been
// let in already.
type inner struct {
	handler   http.Handler
	transport *http.Transport
	conns     chan net.Conn
	closed    chan struct{}
}

func newInner(h http.Handler) *inner {
	i := &inner{handler: h, conns: make(chan net.Conn), closed: make(chan struct{})}
	i.transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			client, server := net.Pipe()
			select {
			case i.conns <- server:
				return client, nil
			case <-i.closed:
			case <-ctx.Done():
			}
			return nil, errors.Join(net.ErrClosed, client.Close(), server.Close())
		},
	}
	return i
}

// run serves until ctx ends.
func (i *inner) run(ctx context.Context) {
	server := &http.Server{
		Handler:           i.handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 30 * time.Second,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	_ = server.Serve(i) // It ends by the Close above, in no other way.
}

// Accept, Close and Addr make inner a net.Listener.
func (i *inner) Accept() (net.Conn, error) {
	select {
	case conn := <-i.conns:
		return conn, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// Close is called once, by the server.
func (i *inner) Close() error {
	close(i.closed)
	return nil
}

// Addr is no address that could be dialled.
func (i *inner) Addr() net.Addr { return innerAddr{} }

type innerAddr struct{}

func (innerAddr) Network() string { return "pipe" }
func (innerAddr) String() string  { return "node" }
