package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	etcdconfig "go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/utils/clock"
)

// Config says where the cluster's data is. The zero value needs a Dir or
// Servers.
type Config struct {
	// Dir is the data directory of the member in this process.
	Dir string
	// NoSync leaves out fsync: for tests, whose data need not survive.
	NoSync bool

	// Servers are URLs of an etcd that runs elsewhere; there is no member in
	// this process then.
	Servers []string
	// TLS files for Servers.
	CAFile, CertFile, KeyFile string

	// Tick is the member's heartbeat; an election takes ElectionTicks of it.
	// Zero: 100 ms. A single member has nobody to hear from, so a long tick
	// costs nothing but the first election, which it shortens by advancing
	// its clock; a short one costs idle CPU (1 % of a core at 10 ms).
	Tick time.Duration
}

// Store is the cluster's data.
type Store struct {
	// Client reaches the data; in-process when the member is ours.
	Client *kubernetes.Client

	server    *etcdserver.EtcdServer
	compactor compactor
	stop      sync.Once
	cancel    context.CancelFunc
}

const (
	// memberName is fixed: a member is told apart by its directory.
	memberName = "default"
	// peerURL is never listened on; a single member needs one to be named by.
	peerURL = "http://127.0.0.1:1"
	// maxRequestBytes is kube-apiserver's own limit of a request's body.
	maxRequestBytes = 3 << 20
	// quotaBytes is etcd's suggested largest size of a database.
	quotaBytes = 8 << 30
)

// walSegment sets the size of write-ahead log files once for the process:
// preallocating etcd's 64 MB takes longer than all the rest of a start.
var walSegment = sync.OnceFunc(func() { wal.SegmentSizeBytes = 4 << 20 })

// Start opens the data. It returns when reads and writes are served.
func Start(ctx context.Context, c Config) (*Store, error) {
	if len(c.Servers) > 0 {
		return dial(c)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make etcd data directory: %w", err)
	}
	if err := checkDatabase(c.Dir); err != nil {
		return nil, err
	}
	walSegment()
	urls, err := types.NewURLs([]string{peerURL})
	if err != nil {
		return nil, fmt.Errorf("etcd peer URL: %w", err)
	}
	tick := c.Tick
	if tick == 0 {
		tick = 100 * time.Millisecond
	}
	log := logger()
	server, err := newServer(etcdconfig.ServerConfig{
		Name: memberName, ClientURLs: urls, PeerURLs: urls, DataDir: c.Dir,
		SnapshotCount: etcdserver.DefaultSnapshotCount, SnapshotCatchUpEntries: etcdserver.DefaultSnapshotCatchUpEntries,
		MaxSnapFiles: 5, MaxWALFiles: 5,
		InitialPeerURLsMap: types.URLsMap{memberName: urls}, InitialClusterToken: "skiff", NewCluster: true,
		TickMs: uint(tick.Milliseconds()), ElectionTicks: 2, InitialElectionTickAdvance: true,
		MaxTxnOps: 128, MaxRequestBytes: maxRequestBytes, QuotaBackendBytes: quotaBytes,
		StrictReconfigCheck: true, AuthToken: "simple", BcryptCost: 4, TokenTTL: 300,
		Logger: log, UnsafeNoFsync: c.NoSync, DowngradeCheckTime: 5 * time.Second,
		WarningApplyDuration: 100 * time.Millisecond, WarningUnaryRequestDuration: 300 * time.Millisecond,
		MaxLearners: 1, V2Deprecation: etcdconfig.V2DeprDefault,
		ServerFeatureGate: features.NewDefaultServerFeatureGate(memberName, log), Metrics: "basic",
	})
	if err != nil {
		return nil, fmt.Errorf("open etcd data in %s: %w", c.Dir, err)
	}
	server.Start()
	select {
	case <-server.ReadyNotify():
	case <-server.StopNotify():
		return nil, fmt.Errorf("open etcd data in %s: member stopped while starting", c.Dir)
	case <-ctx.Done():
		server.HardStop()
		return nil, fmt.Errorf("open etcd data in %s: %w", c.Dir, ctx.Err())
	}
	client := v3client.New(server)
	k := &kubernetes.Client{Client: client}
	k.Kubernetes = memberReads{k}
	return open(&Store{Client: k, server: server, cancel: func() { _ = client.Close() }}), nil
}

// newServer turns etcd's panics on unreadable data into errors.
func newServer(c etcdconfig.ServerConfig) (s *etcdserver.EtcdServer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the data is damaged (%v): restore it from a snapshot, or move the directory away to start empty", p)
		}
	}()
	return etcdserver.NewServer(c)
}

// checkDatabase refuses a database file that another process holds or that is
// not one, before etcd waits for it or panics.
func checkDatabase(dir string) error {
	file := filepath.Join(dir, "member", "snap", "db")
	if info, err := os.Stat(file); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("open etcd data: %w", err)
	} else if info.Size() == 0 {
		return nil
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true, PreLoadFreelist: false})
	switch {
	case err == nil:
		return db.Close()
	case strings.Contains(err.Error(), "timeout"):
		return fmt.Errorf("open etcd data %s: another process is using it", file)
	default:
		return fmt.Errorf("open etcd data %s: the file is damaged (%w): restore it from a snapshot, or move %s away to start empty", file, err, dir)
	}
}

// dial connects to an etcd that runs elsewhere.
func dial(c Config) (*Store, error) {
	cc := clientv3.Config{
		Endpoints: c.Servers, DialTimeout: 20 * time.Second,
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))},
		Logger:      logger(),
	}
	if c.CAFile != "" || c.CertFile != "" {
		tls, err := transport.TLSInfo{TrustedCAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("TLS files of etcd: %w", err)
		}
		cc.TLS = tls
	}
	client, err := kubernetes.New(cc)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(c.Servers, ","), err)
	}
	return open(&Store{Client: client, cancel: func() { _ = client.Close() }}), nil
}

// compactor forgets old versions of objects and says which are forgotten.
type compactor interface {
	etcd3.Compactor
	Stop()
}

// keepVersions is how long old versions can be read and watched from
// (--etcd-compaction-interval).
const keepVersions = 5 * time.Minute

// open begins what goes on beside a store that is served. Several API servers
// over one etcd agree on who compacts by a key.
func open(s *Store) *Store {
	s.compactor = etcd3.NewCompactor(s.Client.Client, keepVersions, clock.RealClock{}, nil)
	return s
}

// Stop closes the data. It may be called more than once.
func (s *Store) Stop() {
	s.stop.Do(func() {
		s.compactor.Stop()
		s.cancel()
		if s.server != nil {
			s.server.Stop()
		}
	})
}

// Check says whether the data can be read, for /healthz/etcd.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.Client.KV.Get(ctx, "health", clientv3.WithCountOnly()); err != nil {
		return fmt.Errorf("read from etcd: %w", err)
	}
	return nil
}

// Stopped is closed when the member in this process ended; nil without one.
func (s *Store) Stopped() <-chan struct{} {
	if s.server == nil {
		return nil
	}
	return s.server.StopNotify()
}

// memberReads answers gets without a round through raft. A single member
// acknowledges a write only once it is applied, so what it reads locally is
// linearizable.
type memberReads struct{ *kubernetes.Client }

func (m memberReads) Get(ctx context.Context, key string, o kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	r, err := m.KV.Get(ctx, key, clientv3.WithRev(o.Revision), clientv3.WithLimit(1), clientv3.WithSerializable())
	if err != nil {
		return kubernetes.GetResponse{}, err
	}
	out := kubernetes.GetResponse{Revision: r.Header.Revision}
	if len(r.Kvs) == 1 {
		out.KV = r.Kvs[0]
	}
	return out, nil
}

// logger gives what etcd says at error level and above.
func logger() *zap.Logger {
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(zapcore.ErrorLevel)
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.Encoding = "console"
	c.DisableStacktrace = true
	l, err := c.Build(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return quiet{core} }))
	if err != nil {
		return zap.NewNop()
	}
	return l
}
