package cluster

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster/pki"
)

// component is one room at work. Run blocks until ctx ends and all that it
// started has ended; it returns an error when it can't go on. Ready is closed
// when it serves.
//
//	New ── Run ──┬─ Ready closed ── ctx ends ── Run returns nil
//	             └─ error
type component interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// Cluster is a running cluster.
type Cluster struct {
	config Config
	pki    *pki.Store
	api    *apiserver.Server
	temp   string // directory to remove in the end

	mu      sync.Mutex
	started []*running // in the order of their start
	failed  chan struct{}
	err     error
	stop    sync.Once
}

type running struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

// Start starts a cluster and returns when it can be used. ctx limits the start
// only; Stop ends the cluster.
func Start(ctx context.Context, config Config) (_ *Cluster, err error) {
	c := &Cluster{config: config, failed: make(chan struct{})}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := c.prepare(); err != nil {
		return nil, err
	}
	if err := c.step("API server", func() error { return c.startAPIServer(ctx) }); err != nil {
		return nil, err
	}
	if err := c.startRooms(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// startRooms starts what stands around the API server, all at once: the rooms
// wait for nothing but it.
func (c *Cluster) startRooms(ctx context.Context) error {
	rooms := []struct {
		name  Room
		start func(context.Context) error
	}{
		{Controllers, c.startControllers},
		{Scheduler, c.startScheduler},
		{Nodes, c.startNodes},
	}
	var group sync.WaitGroup
	errs := make([]error, len(rooms))
	for i, r := range rooms {
		if slices.Contains(c.config.Without, r.name) {
			continue
		}
		group.Go(func() {
			errs[i] = c.step(string(r.name), func() error { return r.start(ctx) })
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// RESTConfig is for clients with all rights, in this process.
func (c *Cluster) RESTConfig() *restclient.Config {
	return c.As("kubernetes-admin", user.SystemPrivilegedGroup)
}

// As is for clients in this process that are some user in groups, with that
// user's rights.
func (c *Cluster) As(name string, groups ...string) *restclient.Config {
	return c.api.RESTConfig(&user.DefaultInfo{Name: name, Groups: groups})
}

// CA is the certificate that signs the cluster's others, PEM.
func (c *Cluster) CA() []byte { return c.pki.CA() }

// Failed is closed when a part of the cluster can't go on; Err says why.
func (c *Cluster) Failed() <-chan struct{} { return c.failed }

// Err is why the cluster failed; nil while it has not.
func (c *Cluster) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Stop ends every part in reverse order of its start and waits. Data in a
// directory that was given stays.
func (c *Cluster) Stop() {
	c.stop.Do(func() {
		c.mu.Lock()
		parts := c.started
		c.mu.Unlock()
		for i := len(parts) - 1; i >= 0; i-- {
			parts[i].cancel()
			<-parts[i].done
		}
		if c.temp != "" {
			_ = os.RemoveAll(c.temp) // a temporary directory: nothing is lost
		}
	})
}

// prepare makes the directories and certificates.
func (c *Cluster) prepare() (err error) {
	c.config.complete()
	if c.config.DataDir == "" {
		if c.temp, err = os.MkdirTemp("", "skiff-"); err != nil {
			return fmt.Errorf("make temporary data directory: %w", err)
		}
		c.pki, err = pki.Open("")
		return err
	}
	if err := os.MkdirAll(c.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	c.pki, err = pki.Open(filepath.Join(c.config.DataDir, "pki"))
	return err
}

func (c *Cluster) dir(parts ...string) string {
	base := c.config.DataDir
	if base == "" {
		base = c.temp
	}
	return filepath.Join(append([]string{base}, parts...)...)
}

// step does one part of the start and reports its time.
func (c *Cluster) step(name string, do func() error) error {
	begin := time.Now()
	err := do()
	if c.config.Progress != nil {
		c.config.Progress(Step{Name: name, Took: time.Since(begin), Err: err})
	}
	return err
}

// run starts a component and waits until it is ready.
func (c *Cluster) run(ctx context.Context, name string, p component) error {
	life, cancel := context.WithCancel(context.Background())
	r := &running{name: name, cancel: cancel, done: make(chan struct{})}
	c.mu.Lock()
	c.started = append(c.started, r)
	c.mu.Unlock()
	go func() {
		defer close(r.done)
		err := p.Run(life)
		if life.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			c.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	select {
	case <-p.Ready():
		return nil
	case <-c.failed:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w", name, context.Cause(ctx))
	}
}

func (c *Cluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.failed)
	}
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	a := c.config.APIServer
	if a.Etcd.Dir == "" && len(a.Etcd.Servers) == 0 {
		a.Etcd = etcd.Config{Dir: c.dir("etcd"), NoSync: c.config.DataDir == "", Tick: a.Etcd.Tick}
		if c.config.DataDir == "" && a.Etcd.Tick == 0 {
			a.Etcd.Tick = 10 * time.Millisecond
		}
	}
	if a.Listener == nil && c.config.Listen != "" {
		l, err := net.Listen("tcp", c.config.Listen)
		if err != nil {
			return fmt.Errorf("listen for the API: %w", err)
		}
		a.Listener = l
	}
	if a.Listener != nil {
		serving, err := c.servingCertificate(a)
		if err != nil {
			return err
		}
		a.CertificatePEM, a.KeyPEM = serving.Cert, serving.Key
	}
	key, err := c.pki.SigningKey("sa")
	if err != nil {
		return err
	}
	agents, err := c.pki.Client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", user.SystemPrivilegedGroup)
	if err != nil {
		return err
	}
	a.ServiceAccountKey, a.ClientCAPEM, a.KubeletCAPEM = key, c.pki.CA(), c.pki.CA()
	a.KubeletClientCertPEM, a.KubeletClientKeyPEM = agents.Cert, agents.Key
	c.config.APIServer = a
	if c.api, err = apiserver.New(ctx, a); err != nil {
		return err
	}
	return c.run(ctx, "API server", c.api)
}

// servingCertificate is for every name that clients know the server by.
func (c *Cluster) servingCertificate(a apiserver.Config) (pki.Pair, error) {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.config.ClusterDomain}
	addresses := []string{"127.0.0.1", "::1"}
	if prefix, err := netip.ParsePrefix(a.ServiceClusterIPRange); err == nil {
		addresses = append(addresses, prefix.Masked().Addr().Next().String())
	}
	if a.AdvertiseAddress != nil && !a.AdvertiseAddress.IsLoopback() {
		addresses = append(addresses, a.AdvertiseAddress.String())
	}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		names = append(names, host)
	}
	for _, extra := range c.config.ServerNames {
		if net.ParseIP(extra) != nil {
			addresses = append(addresses, extra)
		} else {
			names = append(names, extra)
		}
	}
	return c.pki.Serving("apiserver", pkix.Name{CommonName: "kube-apiserver"}, append(names, addresses...)...)
}
