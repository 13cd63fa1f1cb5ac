package cluster

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster/balancer"
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
	access chan struct{} // one is sent when the administrator's certificate changed
	told   sync.Once     // it is known where to send that
	api    *apiserver.Server
	way    *balancer.Balancer // to the API servers, when there is none in this process
	temp   string             // directory to remove in the end

	mu      sync.Mutex
	rooms   []*running    // in the order of their start
	server  *running      // the API server, which all rooms need to the end
	release []func()      // gives back what was reserved
	serving chan struct{} // closed when the API server is ready
	ready   time.Time     // when that was
	failed  chan struct{}
	err     error
	stop    sync.Once

	listening sync.Mutex // one Listen at a time
	socket    *socket    // what Listen serves
	client    func() (client.WithWatch, error)
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Start starts a cluster and returns when it can be used. ctx limits the start
// only; Stop ends the cluster.
func Start(ctx context.Context, config Config) (_ *Cluster, err error) {
	if config.DataDir == "" && config.Join == nil {
		leave, err := takeTurn(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	defer relaxGC()()
	c := &Cluster{config: config, access: make(chan struct{}, 1), serving: make(chan struct{}), failed: make(chan struct{})}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := c.join(ctx); err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	content, err := c.readContent()
	if err != nil {
		return nil, err
	}
	if len(config.Masters) > 0 {
		if err := c.startBeside(ctx, content); err != nil {
			return nil, err
		}
		return c, nil
	}
	if err := c.prepareAPIServer(); err != nil {
		return nil, err
	}
	if err := c.run(ctx, "certificates", certificates{c.pki}); err != nil {
		return nil, err
	}
	var group sync.WaitGroup
	group.Go(func() { err = c.startRooms(ctx) })
	if err := c.step("API server", func() error { return c.startAPIServer(ctx) }); err != nil {
		c.fail(err) // the rooms wait for it no longer
		group.Wait()
		return nil, err
	}
	c.ready = time.Now()
	close(c.serving)
	group.Wait()
	if err == nil {
		err = errors.Join(c.startSnapshots(ctx), c.startApprover(ctx))
	}
	if err == nil && len(content) > 0 {
		err = c.step("manifests", func() error { return c.applyContent(ctx, content) })
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// startRooms starts what stands around the API server, all at once and beside
// it: what a room prepares needs no server, and its first request waits for it
// ([early]).
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
	if c.way != nil {
		return c.way.RESTConfig("")
	}
	return c.As("kubernetes-admin", user.SystemPrivilegedGroup)
}

// As is for clients in this process that are some user in groups, with that
// user's rights. A service account is system:serviceaccount:NAMESPACE:NAME and
// in the groups of all of them without being told.
func (c *Cluster) As(name string, groups ...string) *restclient.Config {
	if namespace, _, err := serviceaccount.SplitUsername(name); err == nil {
		groups = append(slices.Clone(groups), serviceaccount.MakeGroupNames(namespace)...)
	}
	if c.way != nil {
		r := c.way.RESTConfig("")
		r.Impersonate = restclient.ImpersonationConfig{UserName: name, Groups: groups}
		return r
	}
	u := &user.DefaultInfo{Name: name, Groups: append(slices.Clone(groups), user.AllAuthenticated)}
	return &restclient.Config{Host: "http://in-process", Transport: &early{cluster: c, user: u}, QPS: -1}
}

// Client has all rights and the types of Config.Scheme. It does not cache: it
// reads what was written.
func (c *Cluster) Client() (client.WithWatch, error) { return c.client() }

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
		parts := c.rooms
		if c.server != nil {
			parts = append([]*running{c.server}, parts...)
		}
		c.mu.Unlock()
		for _, p := range slices.Backward(parts) {
			p.cancel()
			<-p.done
		}
		for _, release := range c.release {
			release()
		}
		if c.temp != "" {
			_ = os.RemoveAll(c.temp) // a temporary directory: nothing is lost
		}
	})
}

// prepare makes the directories and certificates.
func (c *Cluster) prepare() (err error) {
	c.config.complete()
	c.client = sync.OnceValues(func() (client.WithWatch, error) {
		return client.NewWithWatch(c.RESTConfig(), client.Options{Scheme: c.config.Scheme})
	})
	if c.config.DataDir == "" {
		if c.temp, err = os.MkdirTemp("", "skiff-"); err != nil {
			return fmt.Errorf("make temporary data directory: %w", err)
		}
		c.pki, err = pki.Open("", c.config.certificateClock)
		return err
	}
	if err := os.MkdirAll(c.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	c.pki, err = pki.Open(filepath.Join(c.config.DataDir, "pki"), c.config.certificateClock)
	return err
}

func (c *Cluster) dir(parts ...string) string {
	base := c.config.DataDir
	if base == "" {
		base = c.temp
	}
	return filepath.Join(append([]string{base}, parts...)...)
}

// step does one part of the start and reports its time, of a room from the
// moment that it is not waiting for the API server.
func (c *Cluster) step(name string, do func() error) error {
	begin := time.Now()
	err := do()
	select {
	case <-c.serving:
		begin = c.ready
	default:
	}
	if c.config.Progress != nil {
		c.config.Progress(Step{Name: name, Took: time.Since(begin), Err: err})
	}
	return err
}

// run starts a room and waits until it is ready.
func (c *Cluster) run(ctx context.Context, name string, p component) error {
	return c.runAs(ctx, name, p, func(r *running) { c.rooms = append(c.rooms, r) })
}

// runAs is run of a component that keep remembers for Stop.
func (c *Cluster) runAs(ctx context.Context, name string, p component, keep func(*running)) error {
	life, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	c.mu.Lock()
	keep(r)
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

// prepareAPIServer fills in the API server's configuration.
func (c *Cluster) prepareAPIServer() error {
	if err := c.findEncryption(); err != nil {
		return err
	}
	a := c.config.APIServer
	if a.Etcd.Dir == "" && len(a.Etcd.Servers) == 0 {
		a.Etcd.Dir, a.Etcd.NoSync = c.dir("etcd"), c.config.DataDir == ""
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
		a.Serving = renewing{serving, c.pki.CA()}
	}
	if err := c.preparePeers(); err != nil {
		return err
	}
	a.Etcd.Peers = c.config.APIServer.Etcd.Peers
	a.Paths = c.paths()
	key, err := c.pki.SigningKey("sa")
	if err != nil {
		return err
	}
	agents, err := c.pki.Client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", user.SystemPrivilegedGroup)
	if err != nil {
		return err
	}
	a.ServiceAccounts.Key, a.ClientCAPEM, a.KubeletCAPEM = key, c.pki.CA(), c.pki.CA()
	a.KubeletClientCertificate = agents.ClientCertificate
	if a.DialNode == nil {
		a.DialNode = c.dialPods(agents.ClientCertificate)
	}
	proxy, ca, err := c.frontProxy()
	if err != nil {
		return err
	}
	a.ProxyCAPEM, a.ProxyClientCertificate = ca, func() (cert, key []byte) {
		p := proxy.Current()
		return p.Cert, p.Key
	}
	c.config.APIServer = a
	return nil
}

// frontProxy is what extension servers know the API server by. It has a CA of
// its own: whoever it signs may speak for every user.
func (c *Cluster) frontProxy() (_ *pki.Leaf, ca []byte, err error) {
	dir := ""
	if c.config.DataDir != "" {
		dir = c.dir("pki", "front-proxy")
	}
	store, err := pki.Open(dir, c.config.certificateClock)
	if err != nil {
		return nil, nil, fmt.Errorf("front proxy: %w", err)
	}
	leaf, err := store.Client(apiserver.ProxyClientName, apiserver.ProxyClientName)
	return leaf, store.CA(), err
}

func (c *Cluster) startAPIServer(ctx context.Context) (err error) {
	if c.api, err = apiserver.New(ctx, c.config.APIServer); err != nil {
		return err
	}
	return c.runAs(ctx, "API server", c.api, func(r *running) { c.server = r })
}

// servingCertificate is for every name that clients know the server by.
func (c *Cluster) servingCertificate(a apiserver.Config) (*pki.Leaf, error) {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.config.ClusterDomain}
	addresses := []string{"127.0.0.1", "::1"}
	for _, p := range prefixes(a.ServiceClusterIPRange) {
		addresses = append(addresses, p.Addr().Next().String())
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
