package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
// can be killed and stopped as a machine can.
type seat struct {
	Peer string `json:"peer"` // host:port of its etcd
	Port int    `json:"port"` // of its API; of the first it is --secure-port
}

// furtherMasters are the processes.
type furtherMasters struct {
	profile profile
	address net.IP // by which others reach them
	args    []string
	seats   []seat

	stopping chan struct{}
	group    sync.WaitGroup
}

// seatsFile keeps the seats: etcd's members know each other by them.
const seatsFile = "masters.json"

// openMasters reads the seats, of which there is one for each master that there
// ever was, or finds free ones. args are the flags of a further master.
func openMasters(p profile, n int, address net.IP, args []string) (*furtherMasters, error) {
	m := &furtherMasters{profile: p, address: address, args: args, stopping: make(chan struct{})}
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
	for len(m.seats) < n {
		peer, err := freePort(address)
		if err != nil {
			return nil, err
		}
		port, err := freePort(address)
		if err != nil {
			return nil, err
		}
		m.seats = append(m.seats, seat{Peer: net.JoinHostPort(address.String(), strconv.Itoa(peer)), Port: port})
	}
	if raw, err = json.Marshal(m.seats); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, seatsFile), raw, 0o600); err != nil {
		return nil, fmt.Errorf("masters of the cluster: %w", err)
	}
	return m, nil
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

func (m *furtherMasters) dir(i int) string {
	return filepath.Join(m.profile.dir, "masters", strconv.Itoa(i))
}

// resume starts those that have data: without them the first has no majority.
func (m *furtherMasters) resume() error {
	for i := 1; i < len(m.seats); i++ {
		if has, err := etcd.HasData(filepath.Join(m.dir(i), "etcd")); err != nil {
			return err
		} else if has {
			m.group.Go(func() { m.keep(i, nil) })
		}
	}
	return nil
}

// join starts those that have none and waits until all are ready.
func (m *furtherMasters) join(ctx context.Context, c *cluster.Cluster) error {
	access, err := c.Access()
	if err != nil {
		return err
	}
	k, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return err
	}
	for i := 1; i < len(m.seats); i++ {
		if has, err := etcd.HasData(filepath.Join(m.dir(i), "etcd")); err != nil {
			return err
		} else if !has {
			token, err := cluster.NewToken(ctx, k, access.CA, true, time.Hour, "skiff up --masters")
			if err != nil {
				return err
			}
			m.group.Go(func() { m.keep(i, []string{"--join", access.Server, "--token", token.String()}) })
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
func (m *furtherMasters) keep(i int, join []string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-m.stopping
		cancel()
	}()
	for ctx.Err() == nil {
		if err := m.run(ctx, i, join); ctx.Err() == nil {
			klog.Background().Error(err, "Master ended and is started again", "master", i)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
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
		"server", "--profile", m.profile.name, "--data-dir", m.dir(i), "--advertise-address", m.address.String(),
		"--secure-port", strconv.Itoa(m.seats[i].Port), "--etcd-peer-address", m.seats[i].Peer,
	}, m.args...)
	c := exec.CommandContext(ctx, self, append(args, join...)...)
	c.Stdout, c.Stderr = log, log
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true} // Ctrl-C is for the first
	return c.Run()
}

// stop ends all.
func (m *furtherMasters) stop() {
	close(m.stopping)
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
