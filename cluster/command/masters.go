package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster"
)

// seat is where one of the masters of `skiff up --masters` is. With several each
// is a process of its own, so that it can be killed and stopped as a machine can.
// Where nodes have hosts, so have they: they can be cut off as a machine can.
type seat struct {
	Peer string `json:"peer"`           // host:port of its etcd
	Port int    `json:"port"`           // of its API; of one that is alone it is --secure-port
	Host string `json:"host,omitempty"` // name of its own one; empty: this machine
}

// host is the address of the seat's machine.
func (s seat) host() string {
	host, _, _ := net.SplitHostPort(s.Peer) // as it was joined
	return host
}

func (s seat) api() string { return net.JoinHostPort(s.host(), strconv.Itoa(s.Port)) }

// masters are the processes of several masters. Of one that is alone there is
// only its seat: it is in the process of `skiff up`.
type masters struct {
	profile profile
	args    []string // flags that all have
	bind    string   // address that those without a host serve on
	seats   []seat
	kept    []bool // by seat: a process is kept there
	// broken is why a process ended that must not have: it would again.
	broken chan error

	founding bool          // the first begins the cluster
	known    chan struct{} // closed when cluster is
	cluster  *cluster.Cluster

	mu         sync.Mutex
	token      cluster.Token
	tokenUntil time.Time

	stopping chan struct{}
	once     sync.Once
	group    sync.WaitGroup
}

// seatsFile keeps the seats: etcd's members know each other by them.
const seatsFile = "masters.json"

// openMasters reads the seats, of which there is one for each master that there
// ever was, or finds free ones. args are flags that all masters have.
func openMasters(p profile, n int, config cluster.Config, args []string) (*masters, error) {
	m := &masters{profile: p, args: args, broken: make(chan error, 1), known: make(chan struct{}), stopping: make(chan struct{})}
	var err error
	if m.seats, err = readSeats(p); err != nil {
		return nil, err
	}
	if len(m.seats) > n && n > 1 {
		return nil, usageError{fmt.Errorf("--masters %d: cluster %q has %d; 'skiff master remove' takes one out", n, p.name, len(m.seats))}
	}
	if len(m.seats) == 1 {
		m.seats = nil // it has been alone: nobody knows it by its place
	}
	if err := m.find(n, config); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(m.seats)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, seatsFile), raw, 0o600); err != nil {
		return nil, fmt.Errorf("masters of the cluster: %w", err)
	}
	m.kept = make([]bool, len(m.seats))
	return m, nil
}

// readSeats gives the seats of a cluster; none is no error.
func readSeats(p profile) (seats []seat, err error) {
	raw, err := os.ReadFile(filepath.Join(p.dir, seatsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &seats)
	}
	if err != nil {
		return nil, fmt.Errorf("masters of the cluster: %w", err)
	}
	return seats, nil
}

// find gives n masters a seat each, and makes the hosts of all that have one.
func (m *masters) find(n int, config cluster.Config) error {
	address := config.APIServer.AdvertiseAddress
	name := func(i int) string { return fmt.Sprintf("%s-master-%d", m.profile.name, i) }
	var names []string
	for i := range max(n, len(m.seats)) {
		if i < len(m.seats) && m.seats[i].Host != "" || i >= len(m.seats) && n > 1 && config.Nodes[0].Host {
			names = append(names, name(i))
		}
	}
	addresses := map[string]string{}
	if len(names) > 0 {
		made, err := cluster.MakeHosts(config, names)
		if err != nil {
			return err
		}
		for i, name := range names {
			addresses[name] = made[i].String()
		}
	}
	for i := len(m.seats); i < n; i++ {
		if on := addresses[name(i)]; on != "" {
			m.seats = append(m.seats, seat{Peer: net.JoinHostPort(on, "2380"), Port: 6443, Host: name(i)})
			continue
		}
		peer, err := freePort(address)
		if err != nil {
			return err
		}
		port, err := freePort(address)
		if err != nil {
			return err
		}
		m.seats = append(m.seats, seat{Peer: net.JoinHostPort(address.String(), strconv.Itoa(peer)), Port: port})
	}
	return nil
}

// Ports of masters without hosts are below those that the system gives to
// clients' connections (32768 to 60999 on Linux), which one would find taken when
// it is started again.
const firstPort, endPort = 20000, 32000

func freePort(ip net.IP) (int, error) {
	var last error
	for range 100 {
		port := firstPort + rand.IntN(endPort-firstPort) //nolint:gosec // no secret
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip, Port: port})
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}

// alone says that there is one master.
func (m *masters) alone() bool { return len(m.seats) == 1 }

// peers is how a master that is alone is reached by those that come.
func (m *masters) peers() *etcd.Peers {
	return &etcd.Peers{Listen: m.seats[0].Peer, Advertise: m.seats[0].Peer}
}

// servers are where the masters serve the API.
func (m *masters) servers() []string {
	var out []string
	for _, s := range m.seats {
		out = append(out, s.api())
	}
	return out
}

// dir is a master's data directory. That of one which is alone is the profile's.
func (m *masters) dir(i int) string {
	return filepath.Join(m.profile.dir, "masters", strconv.Itoa(i))
}

func (m *masters) hasData(i int) (bool, error) { return etcd.HasData(filepath.Join(m.dir(i), "etcd")) }

// takeOver makes the data of a cluster whose master was alone the first one's.
// The last step is the one that counts.
func (m *masters) takeOver() error {
	from := filepath.Join(m.profile.dir, "etcd")
	if has, err := etcd.HasData(from); err != nil || !has {
		return err
	}
	if has, err := m.hasData(0); err != nil || has {
		return errors.Join(err, fmt.Errorf("both %s and %s have data: only one of them can be the first master's", from, m.dir(0)))
	}
	if err := m.shareKeys(); err != nil {
		return err
	}
	if err := os.Rename(from, filepath.Join(m.dir(0), "etcd")); err != nil {
		return fmt.Errorf("data of the first master: %w", err)
	}
	return nil
}

// shareKeys gives the first master the keys of the cluster.
func (m *masters) shareKeys() error {
	if err := os.MkdirAll(m.dir(0), 0o700); err != nil {
		return fmt.Errorf("data of the first master: %w", err)
	}
	if err := m.place(0).check(); err != nil {
		return err
	}
	return cluster.ShareKeys(m.profile.dir, m.dir(0))
}

// begin starts those that have data, or the first, and waits until one is ready.
func (m *masters) begin(ctx context.Context) error {
	if err := m.takeOver(); err != nil {
		return err
	}
	var begun []int
	for i := range m.seats {
		if has, err := m.hasData(i); err != nil {
			return err
		} else if has {
			begun = append(begun, i)
		}
	}
	if len(begun) == 0 {
		if err := m.shareKeys(); err != nil {
			return err
		}
		m.founding, begun = true, []int{0}
	}
	for _, i := range begun {
		m.start(i)
	}
	return m.ready(ctx, begun...)
}

func (m *masters) start(i int) {
	m.kept[i] = true
	m.group.Go(func() { m.keep(i) })
}

// join starts the others, one after the other, and waits until all are ready.
func (m *masters) join(ctx context.Context, c *cluster.Cluster) error {
	m.cluster = c
	close(m.known)
	for i := range m.seats {
		if !m.kept[i] {
			m.start(i)
		}
		if err := m.ready(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// ready waits for one of several.
func (m *masters) ready(ctx context.Context, which ...int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, i := range which {
			if r, ok := m.place(i).running(); ok && r.Ready {
				return nil
			}
		}
		select {
		case <-tick.C:
		case err := <-m.broken:
			return err
		case <-ctx.Done():
			return fmt.Errorf("master %d does not become ready: %w; its log is %s.log", which[0], ctx.Err(), m.dir(which[0]))
		}
	}
}

// place is a master's data as that of a cluster.
func (m *masters) place(i int) profile { return profile{m.profile.name, m.dir(i)} }

// keep runs one, again when it ends by itself, until all are stopped.
func (m *masters) keep(i int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-m.stopping
		cancel()
	}()
	for ctx.Err() == nil {
		join, err := m.joining(ctx, i)
		if err == nil {
			err = m.place(i).idle(ctx) // an earlier process may still be on its way out
		}
		if err == nil {
			err = m.run(ctx, i, join)
		}
		if ctx.Err() == nil {
			klog.Background().Error(err, "Master ended and is started again", "master", i)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// Tokens last for longer than they are used, so that a start with one of them
// is not too late.
const (
	tokenLasts = time.Hour
	tokenGood  = tokenLasts / 2
)

// joining are the flags of a master that has no data yet, or has lost it: it
// would begin a cluster of its own without them.
func (m *masters) joining(ctx context.Context, i int) ([]string, error) {
	if has, err := m.hasData(i); has || err != nil || m.founds(i) {
		return nil, err
	}
	select {
	case <-m.known:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().After(m.tokenUntil) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		k, err := kubernetes.NewForConfig(m.cluster.RESTConfig())
		if err != nil {
			return nil, err
		}
		if m.token, err = cluster.NewToken(ctx, k, m.cluster.CA(), true, tokenLasts, "skiff up --masters"); err != nil {
			return nil, err
		}
		m.tokenUntil = time.Now().Add(tokenGood)
	}
	var servers []string
	for j, s := range m.seats {
		if j != i {
			servers = append(servers, "https://"+s.api())
		}
	}
	return []string{"--join", strings.Join(servers, ","), "--token", m.token.String()}, nil
}

// founds says whether the cluster begins with a master: once it is known, it has.
func (m *masters) founds(i int) bool {
	select {
	case <-m.known:
		return false
	default:
		return m.founding && i == 0
	}
}

func (m *masters) run(ctx context.Context, i int, join []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.dir(i)), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(m.dir(i)+".log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	s := m.seats[i]
	bind := m.bind
	if s.Host != "" {
		bind = net.IPv4zero.String()
	}
	args := append([]string{
		"server", "--profile", m.profile.name, "--data-dir", m.dir(i), "--bind-address", bind, "--advertise-address", s.host(),
		"--secure-port", strconv.Itoa(s.Port), "--etcd-peer-address", s.Peer,
	}, m.args...)
	c := exec.CommandContext(ctx, self, append(args, join...)...)
	c.Stdout, c.Stderr = log, log
	c.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "SKIFF_") }) // flags of `skiff up`, which has read them
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true} // Ctrl-C is for `skiff up`
	err = cluster.RunOnHost(m.profile.dir, s.Host, c)
	// One that has data may have been unlucky, and one that joins too.
	if wrong := c.ProcessState != nil && c.ProcessState.ExitCode() == exitUsage; ctx.Err() == nil && (wrong || m.founds(i)) {
		said, _ := io.ReadAll(io.NewSectionReader(log, begin, 1<<20)) // without it the reason is all there is
		broken := fmt.Errorf("master %d: %w; its log is %s", i, errors.Join(err, lastError(said)), log.Name())
		if wrong {
			broken = usageError{broken}
		}
		select {
		case m.broken <- broken:
		default: // one is enough
		}
	}
	return err
}

// lastError is what a command said last before it ended with an error.
func lastError(said []byte) error {
	lines := strings.Split(string(said), "\n")
	for _, line := range slices.Backward(lines) {
		if text, ok := strings.CutPrefix(line, errorPrefix); ok {
			return errors.New(text)
		}
	}
	return nil
}

// stop tells all to end. It may be called more than once.
func (m *masters) stop() { m.once.Do(func() { close(m.stopping) }) }

// wait ends all.
func (m *masters) wait() {
	m.stop()
	m.group.Wait()
}

// serverFlags are those of `skiff up` that `skiff server` has too and that every
// master must have the same.
func serverFlags(up *pflag.FlagSet) []string {
	server := newServer().Flags()
	var out []string
	up.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "profile", "data-dir", "kubeconfig", "bind-address", "secure-port", "advertise-address":
			return
		}
		if server.Lookup(f.Name) == nil {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				out = append(out, "--"+f.Name+"="+v)
			}
			return
		}
		out = append(out, "--"+f.Name+"="+f.Value.String())
	})
	return out
}
