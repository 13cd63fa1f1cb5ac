package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
)

// Peers is how members of one etcd cluster reach each other: by TLS with
// certificates of a CA that signs for nobody else, since who has one can read
// and write all data.
type Peers struct {
	// Name is the member's, unless it began as the first one.
	Name string
	// Listen is where other members reach this one, and Advertise what they are
	// told, host:port both. The socket is opened when the first other joins.
	Listen, Advertise string
	// Clients is where etcd's own clients, etcdctl among them, are served by
	// TLS with a certificate of the same CA; empty: nowhere.
	Clients string
	// CAFile, CertFile and KeyFile are read at every handshake.
	CAFile, CertFile, KeyFile string
	// Join are all members by name with their URLs, this one among them, of a
	// cluster that was told of it by Add; empty: the member begins a cluster.
	// It is of no effect on a member that has data.
	Join map[string]string
}

func (p Peers) url() string { return (&url.URL{Scheme: "https", Host: p.Advertise}).String() }

func (p Peers) tls() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: p.CAFile, ClientCertAuth: true,
		SkipClientSANVerify: true, // the CA signs for members alone, wherever they are seen to come from
		MinVersion:          0x0303,
	}
}

// sharedFile stands in the data directory of a member that has had others, and
// holds its name.
const sharedFile = "shared"

// many says whether the member is, or is to be, one of several.
func (c Config) many() bool {
	if c.Peers == nil {
		return false
	}
	_, err := os.Stat(filepath.Join(c.Dir, sharedFile))
	return err == nil || len(c.Peers.Join) > 0
}

// sockets are where a member is reached from outside of its process.
type sockets struct {
	Peers

	mu      sync.Mutex
	isOpen  atomic.Bool
	peers   *http.Server
	clients *grpc.Server
	served  sync.WaitGroup
}

func (s *sockets) opened() bool { return s != nil && s.isOpen.Load() }

// open listens. It may be called more than once.
func (s *sockets) open(server *etcdserver.EtcdServer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOpen.Load() {
		return nil
	}
	if err := os.WriteFile(filepath.Join(server.Cfg.DataDir, sharedFile), []byte(server.Cfg.Name), 0o600); err != nil {
		return fmt.Errorf("mark etcd data as shared: %w", err)
	}
	tls := s.tls()
	l, err := transport.NewListenerWithOpts(s.Listen, "https", transport.WithTLSInfo(&tls),
		transport.WithTimeout(rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout))
	if err != nil {
		return fmt.Errorf("listen for other etcd members (--etcd-peer-address): %w", err)
	}
	var clients net.Listener
	if s.Clients != "" {
		config, err := tls.ServerConfig()
		if err == nil {
			clients, err = net.Listen("tcp", s.Clients)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("listen for clients of etcd (--etcd-client-address): %w", err), l.Close())
		}
		s.clients = v3rpc.Server(server, config, nil)
		s.served.Go(func() { _ = s.clients.Serve(clients) }) // ends with close
	}
	s.peers = &http.Server{
		Handler:           newPace(server.LeaderChangedNotify, heartbeat(server)).serve(etcdhttp.NewPeerHandler(server.Logger(), server)),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(discard{}, "", 0), // broken handshakes, which the other side reports
	}
	s.served.Go(func() { _ = s.peers.Serve(l) }) // ends with close
	s.isOpen.Store(true)
	return nil
}

// heartbeat is the time between a leader's signs of life.
func heartbeat(server *etcdserver.EtcdServer) time.Duration {
	return time.Duration(server.Cfg.TickMs) * time.Millisecond
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// close ends all connections.
func (s *sockets) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients != nil {
		s.clients.Stop()
	}
	if s.peers != nil {
		_ = s.peers.Close()
	}
	s.served.Wait()
}

// HasData says whether a member's data is below dir.
func HasData(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "member", "wal"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
