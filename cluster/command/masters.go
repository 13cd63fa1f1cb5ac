package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
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

// seat is where one of the masters of `skiff up --masters` is: the first is in
// the process of `skiff up`, each other one in a process of its own, so that it
// can be killed and stopped as a machine can. Where nodes have hosts, so have
// these masters: they can be cut off as a machine can.
type seat struct {
	Peer string `json:"peer"`           // host:port of its etcd
	Port int    `json:"port"`           // of its API; of the first it is --secure-port
	Host string `json:"host,omitempty"` // name of its own one; empty: this machine
}

// host is the address of the seat's machine.
func (s seat) host() string {
	host, _, _ := net.SplitHostPort(s.Peer) // as it was joined
	return host
}

func (s seat) api() string { return net.JoinHostPort(s.host(), strconv.Itoa(s.Port)) }

// furtherMasters are the processes.
type furtherMasters struct {
	profile profile
	args    []string
	seats   []seat
	running []bool // by seat: a process is kept there

	started chan struct{} // closed when the first master has, whose cluster is known then
	cluster *cluster.Cluster
	server  string // URL of the first

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
// ever was, or finds free ones. args are the flags of a further master.
func openMasters(p profile, n int, config cluster.Config, args []string) (*furtherMasters, error) {
	m := &furtherMasters{profile: p, args: args, started: make(chan struct{}), stopping: make(chan struct{})}
	raw, err := os.ReadFile(filepath.Join(p.dir, seatsFile))
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &m.seats); err != nil {
			return nil, fmt.Errorf("masters of the cluster: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("masters of the cluster: %w", err)
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
	if raw, err = json.Marshal(m.seats); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, seatsFile), raw, 0o600); err != nil {
		return nil, fmt.Errorf("masters of the cluster: %w", err)
	}
	m.running = make([]bool, len(m.seats))
	return m, nil
}

// find gives n masters a seat each, and makes the hosts of all that have one.
func (m *furtherMasters) find(n int, config cluster.Config) error {
	address, onHosts := config.APIServer.AdvertiseAddress, config.Nodes[0].Host
	var names []string
	for i := 1; i < max(n, len(m.seats)); i++ {
		if i < len(m.seats) && m.seats[i].Host != "" || i >= len(m.seats) && onHosts {
			names = append(names, fmt.Sprintf("%s-master-%d", m.profile.name, i))
		}
	}
	addresses := map[string]string{}
	if len(names) > 0 {
		made, gateway, err := cluster.MakeHosts(config, names)
		if err != nil {
			return err
		}
		for i, name := range names {
			addresses[name] = made[i].String()
		}
		address = gateway.AsSlice()
	}
	for i := len(m.seats); i < n; i++ {
		if name := fmt.Sprintf("%s-master-%d", m.profile.name, i); addresses[name] != "" {
			m.seats = append(m.seats, seat{Peer: net.JoinHostPort(addresses[name], "2380"), Port: 6443, Host: name})
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

func freePort(ip net.IP) (int, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip})
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// peers is how the first master is reached by the others.
func (m *furtherMasters) peers() *etcd.Peers {
	return &etcd.Peers{Listen: m.seats[0].Peer, Advertise: m.seats[0].Peer}
}

// servers are where the further masters serve the API.
func (m *furtherMasters) servers() []string {
	var out []string
	for _, s := range m.seats[1:] {
		out = append(out, s.api())
	}
	return out
}

func (m *furtherMasters) dir(i int) string {
	return filepath.Join(m.profile.dir, "masters", strconv.Itoa(i))
}

// resume starts those that have data: without them the first has no majority.
func (m *furtherMasters) resume() error {
	for i := 1; i < len(m.seats); i++ {
		if has, err := etcd.HasData(filepath.Join(m.dir(i), "etcd")); err != nil {
			return err
		} else if has {
			m.start(i)
		}
	}
	return nil
}

func (m *furtherMasters) start(i int) {
	m.running[i] = true
	m.group.Go(func() { m.keep(i) })
}

// join starts the others, one after the other, and waits until all are ready.
func (m *furtherMasters) join(ctx context.Context, c *cluster.Cluster) error {
	access, err := c.Access()
	if err != nil {
		return err
	}
	at, err := url.Parse(access.Server)
	if err != nil {
		return err
	}
	m.cluster, m.server = c, "https://"+net.JoinHostPort(m.seats[0].host(), at.Port())
	close(m.started)
	for i := 1; i < len(m.seats); i++ {
		if !m.running[i] {
			m.start(i)
		}
		if err := m.ready(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// ready waits for one.
func (m *furtherMasters) ready(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, ok := (profile{m.profile.name, m.dir(i)}).running(); ok && r.Ready {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("master %d does not become ready: %w; its log is %s.log", i, ctx.Err(), m.dir(i))
		}
	}
}

// keep runs one, again when it ends by itself, until all are stopped.
func (m *furtherMasters) keep(i int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-m.stopping
		cancel()
	}()
	for ctx.Err() == nil {
		join, err := m.joining(ctx, i)
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
func (m *furtherMasters) joining(ctx context.Context, i int) ([]string, error) {
	if has, err := etcd.HasData(filepath.Join(m.dir(i), "etcd")); has || err != nil {
		return nil, err
	}
	select {
	case <-m.started:
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
	servers := []string{m.server}
	for j, s := range m.seats {
		if j > 0 && j != i {
			servers = append(servers, "https://"+s.api())
		}
	}
	return []string{"--join", strings.Join(servers, ","), "--token", m.token.String()}, nil
}

func (m *furtherMasters) run(ctx context.Context, i int, join []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.dir(i)), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(m.dir(i)+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := append([]string{
		"server", "--profile", m.profile.name, "--data-dir", m.dir(i), "--advertise-address", m.seats[i].host(),
		"--secure-port", strconv.Itoa(m.seats[i].Port), "--etcd-peer-address", m.seats[i].Peer,
	}, m.args...)
	c := exec.CommandContext(ctx, self, append(args, join...)...)
	c.Stdout, c.Stderr = log, log
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true} // Ctrl-C is for the first
	if host := m.seats[i].Host; host != "" {
		return cluster.RunOnHost(m.profile.dir, host, c)
	}
	return c.Run()
}

// stop tells all to end. It may be called more than once.
func (m *furtherMasters) stop() { m.once.Do(func() { close(m.stopping) }) }

// wait ends all.
func (m *furtherMasters) wait() {
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
		case "profile", "data-dir", "kubeconfig", "secure-port", "advertise-address":
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
