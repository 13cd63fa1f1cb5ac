package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	etcdconfig "go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	// Prefix is what the keys of all data begin with. Empty: /registry. Clusters
	// that share an etcd need one each.
	Prefix string

	// Tick is the member's heartbeat. Zero: 100 ms. A single member has nobody
	// to hear from, so a long tick costs it nothing; a short one costs idle CPU
	// (1 % of a core at 10 ms).
	Tick time.Duration
	// Election is how long members wait for a silent leader, and at most twice
	// that. Zero: 5 ticks. Members of one cluster need the same.
	Election time.Duration
	// Quota is the largest size of the database in bytes. Zero: 8 GiB.
	Quota int64

	// Peers lets other members join; nil: the member stays alone.
	Peers *Peers

	// NoWatchCache reads all resources from etcd, which is meant for looking for
	// faults; Uncached some.
	NoWatchCache bool
	Uncached     []schema.GroupResource

	Encryption Encryption
}

// Store is the cluster's data.
type Store struct {
	// Client reaches the data; in-process when the member is ours.
	Client *kubernetes.Client
	// Prefix begins the keys of all data, with / before and not after it.
	Prefix string

	server    *etcdserver.EtcdServer
	reads     gate
	compactor compactor
	encrypted *encrypted
	// What has no watch cache.
	noWatchCache bool
	uncached     []schema.GroupResource
	stop         sync.Once
	stopping     atomic.Bool
	cancel       context.CancelFunc

	peers   *sockets // of a member that others can join
	watched *guard
}

const (
	// memberName is fixed: a member is told apart by its directory.
	memberName = "default"
	// peerURL is never listened on; a member that is alone needs one to be
	// named by.
	peerURL      = "http://127.0.0.1:1"
	clusterToken = "skiff"
	// maxRequestBytes is kube-apiserver's own limit of a request's body.
	maxRequestBytes = 3 << 20
	// quotaBytes is etcd's suggested largest size of a database.
	quotaBytes = 8 << 30
	// electionTicks is how many heartbeats may be missed. Half a second to a
	// whole one until a dead leader's members choose another leaves time, of the
	// 3 s that a failover may take, for those who lead by a Lease in the data.
	electionTicks = 5
)

// walSegment sets the size of write-ahead log files once for the process:
// preallocating etcd's 64 MB takes longer than all the rest of a start.
var walSegment = sync.OnceFunc(func() { wal.SegmentSizeBytes = 4 << 20 })

// Start opens the data. It returns when reads and writes are served.
func Start(ctx context.Context, c Config) (*Store, error) {
	keys, err := c.Encryption.open()
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, c)
	if err != nil {
		keys.close()
		return nil, err
	}
	s.encrypted = keys
	s.noWatchCache, s.uncached = c.NoWatchCache, c.Uncached
	s.Prefix = path.Join("/", cmp.Or(c.Prefix, prefix))
	return s, nil
}

func start(ctx context.Context, c Config) (*Store, error) {
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
	empty := !wal.Exist(filepath.Join(c.Dir, "member", "wal"))
	member, err := c.member()
	if err != nil {
		return nil, err
	}
	server, err := newServer(member)
	if err != nil {
		return nil, fmt.Errorf("open etcd data in %s: %w", c.Dir, err)
	}
	if err := tidy(server); err != nil {
		server.Cleanup()
		return nil, fmt.Errorf("defragment etcd data in %s: %w", c.Dir, err)
	}
	s := &Store{server: server}
	if c.Peers != nil {
		s.peers = &sockets{Peers: *c.Peers}
	}
	server.Start()
	// Its sockets come after its start, before which it must not be asked.
	if c.many() {
		if err := s.peers.open(server); err != nil {
			server.HardStop()
			return nil, err
		}
	} else if empty {
		go elect(server)
	}
	if err := s.serve(ctx, c); err != nil {
		s.peers.close()
		server.HardStop()
		return nil, err
	}
	s.watched = newGuard(s)
	return open(s), nil
}

// serve waits until the member takes reads and writes.
func (s *Store) serve(ctx context.Context, c Config) error {
	select {
	case <-s.server.ReadyNotify():
	case <-s.server.StopNotify():
		return fmt.Errorf("open etcd data in %s: %w", c.Dir, s.Why())
	case <-ctx.Done():
		if c.many() {
			return fmt.Errorf("open etcd data in %s: %w: too few of the members %s answer", c.Dir, ctx.Err(), strings.Join(memberNames(s.server), ", "))
		}
		return fmt.Errorf("open etcd data in %s: %w", c.Dir, ctx.Err())
	}
	kv := gatedKV{v3rpc.NewQuotaKVServer(s.server), &s.reads}
	client := s.reads.client(s.server, kv)
	k := &kubernetes.Client{Client: client}
	k.Kubernetes = direct{k, kv, s.peers}
	s.Client, s.cancel = k, func() { _ = client.Close() }
	if c.many() {
		return s.becomeVoter(ctx)
	}
	return nil
}

// member is the configuration of the member in this process.
func (c Config) member() (etcdconfig.ServerConfig, error) {
	name, address, initial := memberName, peerURL, map[string]string{memberName: peerURL}
	if c.Peers != nil && len(c.Peers.Join) > 0 {
		name, address, initial = c.Peers.Name, c.Peers.url(), c.Peers.Join
	} else if raw, err := os.ReadFile(filepath.Join(c.Dir, sharedFile)); err == nil && len(raw) > 0 {
		name, initial = string(raw), map[string]string{string(raw): peerURL} // members know it by this name
	}
	urls, err := types.NewURLs([]string{address})
	if err != nil {
		return etcdconfig.ServerConfig{}, fmt.Errorf("etcd peer URL: %w", err)
	}
	others := types.URLsMap{}
	for n, u := range initial {
		if others[n], err = types.NewURLs([]string{u}); err != nil {
			return etcdconfig.ServerConfig{}, fmt.Errorf("etcd peer URL of %s: %w", n, err)
		}
	}
	tick := c.Tick
	if tick == 0 {
		tick = 100 * time.Millisecond
	}
	ticks, quota := electionTicks, c.Quota
	if c.Election > 0 {
		ticks = max(2, int(c.Election/tick))
	}
	if quota == 0 {
		quota = quotaBytes
	}
	log := logger()
	out := etcdconfig.ServerConfig{
		Name: name, ClientURLs: urls, PeerURLs: urls, DataDir: c.Dir,
		SnapshotCount: etcdserver.DefaultSnapshotCount, SnapshotCatchUpEntries: etcdserver.DefaultSnapshotCatchUpEntries,
		MaxSnapFiles: 5, MaxWALFiles: 5,
		InitialPeerURLsMap: others, InitialClusterToken: clusterToken, NewCluster: len(initial) == 1,
		TickMs: uint(tick.Milliseconds()), ElectionTicks: ticks, InitialElectionTickAdvance: true, PreVote: true,
		MaxTxnOps: 128, MaxRequestBytes: maxRequestBytes, QuotaBackendBytes: quota,
		StrictReconfigCheck: true, AuthToken: "simple", BcryptCost: 4, TokenTTL: 300,
		Logger: log, UnsafeNoFsync: c.NoSync, DowngradeCheckTime: 5 * time.Second,
		WarningApplyDuration: 100 * time.Millisecond, WarningUnaryRequestDuration: 300 * time.Millisecond,
		MaxLearners: 1, V2Deprecation: etcdconfig.V2DeprDefault,
		ServerFeatureGate: features.NewDefaultServerFeatureGate(memberName, log), Metrics: "basic",
	}
	if c.Peers != nil {
		out.PeerTLSInfo = c.Peers.tls()
	}
	return out, nil
}

// elect makes a lone member its own leader now, instead of after the time in
// which it might hear from another. The message is raft's for the successor
// that a leader has chosen; it has no effect until the member has applied its
// own membership. It is for new data only: raft panics when it is told to
// campaign while it catches up with a log of more than a hundred entries, whose
// first ones etcd drops beside it.
func elect(s *etcdserver.EtcdServer) {
	id := uint64(s.MemberID())
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Leader() == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = s.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id}) // it is asked again
		cancel()
		select {
		case <-tick.C:
		case <-s.StopNotify():
			return
		}
	}
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
		s.stopping.Store(true)
		s.encrypted.close()
		s.compactor.Stop()
		s.watched.close()
		s.cancel()
		if s.server != nil {
			s.reads.close(2 * s.server.Cfg.ElectionTimeout())
			s.handOver() // for which the sockets are needed
			s.server.HardStop()
			s.peers.close()
		}
	})
}

// handOver gives the lead to another member, if it is held. It takes no longer
// than an election does, which follows in any case when the other one is
// stopping too and never leads: etcd itself would wait for that for 6 s.
func (s *Store) handOver() {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.server.TryTransferLeadershipOnShutdown() // the others elect one of them; it ends with the server
	}()
	select {
	case <-over:
	case <-time.After(2 * s.server.Cfg.ElectionTimeout()):
	}
}

// Check says whether the data can be read, for /healthz/etcd.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.Client.KV.Get(ctx, "health", clientv3.WithCountOnly()); err != nil {
		return fmt.Errorf("read from etcd: %w", err)
	}
	return s.watched.alarm()
}

// Stopped is closed when the member in this process ended; nil without one.
func (s *Store) Stopped() <-chan struct{} {
	if s.server == nil {
		return nil
	}
	return s.server.StopNotify()
}

// logger gives what etcd says at error level and above.
func logger() *zap.Logger {
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(zapcore.ErrorLevel)
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.Encoding = "console"
	c.DisableStacktrace = true
	c.Sampling = nil // its counters are half a MB, for errors, which are few
	l, err := c.Build(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return quiet{core} }))
	if err != nil {
		return zap.NewNop()
	}
	return l
}
