//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"
	"k8s.io/utils/keymutex"

	"github.com/skiffcluster/skiff/nodeagent/logs"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

const (
	// containerdNamespace keeps our objects apart from those of others who use
	// the same containerd.
	containerdNamespace = "skiff"
	snapshotter         = "overlayfs"
	shimName            = "io.containerd.runc.v2"
	// resyncEvery is how often everything is compared with containerd, in case
	// an event was lost.
	resyncEvery = time.Minute
)

// Config of the runtime.
type Config struct {
	// Address of containerd's socket.
	Address string
	// RunDir holds what does not outlive a reboot: namespaces, FIFOs, output
	// that is not yet in a log.
	RunDir string
	// StateDir holds what is known of containers that have ended.
	StateDir string
	// CgroupRoot stands before "kubepods" in the paths of cgroups; nodes on
	// one machine need one each. Empty is the top.
	CgroupRoot string
	// RuncBinary and RuncRoot are runc's path and state directory; empty ones
	// leave them to containerd.
	RuncBinary, RuncRoot string
	// HostsDir is a directory with one folder a registry, each with a
	// hosts.toml, as containerd's certs.d. It may be missing.
	HostsDir string
	// SeccompDir holds Localhost seccomp profiles.
	SeccompDir string
	// Rotation of containers' logs.
	Rotation logs.Rotation
}

// Runtime is a runtime.Runtime on containerd.
type Runtime struct {
	cfg    Config
	client *client.Client
	tasks  tasksapi.TasksClient
	cgroup cgroups
	caps   []string // that this process may give
	logs   *copier
	// shims holds a sandbox while a task in it is created, started or deleted:
	// its tasks share one shim, which ends with the last of them and must not be
	// asked for the next one meanwhile; and containerd's start of a task looks at
	// it once more at the end, even if it ended at once.
	shims  keymutex.KeyMutex
	oomAdj sync.Once // says once that scores can't be lowered

	ready     chan struct{}
	readyOnce sync.Once

	mu         sync.Mutex
	connected  error // nil while events flow
	sandboxes  map[string]*runtime.Sandbox
	containers map[string]*container
	loaded     bool // what containerd had at the start is known
	watchers   map[*watcher]struct{}

	mountsMu sync.Mutex // while images are mounted for sandboxes

	imagesMu sync.Mutex
	images   map[string]*imageDetails // by manifest digest and platform
}

// container is what is known of one container.
type container struct {
	runtime.Container
	stdin, stdinOnce, tty bool
	// createError is why it has no task; Start reports it.
	createError error
	hasTask     bool
	exiting     bool          // its end is being recorded
	witness     witness       // of its end
	done        chan struct{} // closed when it has ended
	saving      sync.Mutex    // while its state is written
}

type watcher struct{ notify func(id string) }

var _ runtime.Runtime = (*Runtime)(nil)

// New prepares a runtime. It does not talk to containerd: Run does.
func New(cfg Config) (*Runtime, error) {
	for _, dir := range []string{cfg.RunDir, cfg.StateDir, filepath.Join(cfg.StateDir, "containers"), filepath.Join(cfg.StateDir, "sandboxes")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("make runtime directory: %w", err)
		}
	}
	groups, err := detectCgroups(cfg.CgroupRoot)
	if err != nil {
		return nil, err
	}
	caps, err := currentCapabilities()
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	// A restarted containerd is back within a fraction of a second: ask often.
	retry := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	ctd, err := client.New(cfg.Address,
		client.WithDefaultNamespace(containerdNamespace),
		client.WithExtraDialOpts([]grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: time.Second}),
		}))
	if err != nil {
		return nil, fmt.Errorf("containerd client: %w", err)
	}
	output, err := newCopier(cfg.Rotation)
	if err != nil {
		return nil, errors.Join(err, ctd.Close())
	}
	return &Runtime{
		cfg:        cfg,
		client:     ctd,
		tasks:      ctd.TaskService(),
		cgroup:     groups,
		caps:       caps,
		logs:       output,
		ready:      make(chan struct{}),
		connected:  errors.New("not yet connected to containerd"),
		shims:      keymutex.NewHashed(256),
		sandboxes:  map[string]*runtime.Sandbox{},
		containers: map[string]*container{},
		watchers:   map[*watcher]struct{}{},
		images:     map[string]*imageDetails{},
	}, nil
}

// RemoveCgroups removes the cgroups that pods of this node were in, after the
// last of them.
func (r *Runtime) RemoveCgroups() error {
	if err := r.cgroup.removeAll(); err != nil {
		return fmt.Errorf("remove cgroups: %w", err)
	}
	return nil
}

// Ready is closed once all that runs is known.
func (r *Runtime) Ready() <-chan struct{} { return r.ready }

// Run follows containerd until ctx ends: it reads what is there, then events,
// and begins again whenever the connection is lost. Containers go on running
// when it returns.
func (r *Runtime) Run(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	var wg sync.WaitGroup
	wg.Go(func() { r.logs.run(ctx) })
	delay := 50 * time.Millisecond
	for ctx.Err() == nil {
		err := r.follow(ctx, func() { delay = 50 * time.Millisecond })
		r.setConnected(err)
		if ctx.Err() != nil {
			break
		}
		klog.FromContext(ctx).Info("Lost containerd, reconnecting", "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, time.Second)
	}
	wg.Wait()
	r.logs.close()
	r.mu.Lock()
	for _, c := range r.containers {
		c.closeWitness()
	}
	r.mu.Unlock()
	return r.client.Close()
}

func (r *Runtime) setConnected(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connected = err
}

// follow subscribes, reads everything once, then handles events until the
// stream breaks.
func (r *Runtime) follow(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := r.client.Version(ctx); err != nil {
		return fmt.Errorf("reach containerd at %s: %w", r.cfg.Address, err)
	}
	events, errs := r.client.Subscribe(ctx, `namespace==`+containerdNamespace+`,topic~="^/tasks/(exit|oom)"`)
	if err := r.resync(ctx); err != nil {
		return err
	}
	r.setConnected(nil)
	r.readyOnce.Do(func() { close(r.ready) })
	connected()
	ticker := time.NewTicker(resyncEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-errs:
			if err == nil {
				err = errors.New("stream of events ended")
			}
			return err
		case e := <-events:
			if err := r.handleEvent(ctx, e); err != nil {
				klog.FromContext(ctx).Error(err, "Handling containerd event", "topic", e.Topic)
			}
		case <-ticker.C:
			if err := r.resync(ctx); err != nil {
				return err
			}
		}
	}
}

// resync compares what is remembered with sandboxes on disk, containers and
// tasks in containerd.
func (r *Runtime) resync(ctx context.Context) error {
	// Pods are made, started and removed while the lists are read: what an earlier
	// process left is learned once, and only what had a task before can be missing.
	r.mu.Lock()
	loaded, had := r.loaded, make(map[string]bool, len(r.containers))
	for id, c := range r.containers {
		had[id] = c.hasTask
	}
	r.mu.Unlock()
	if !loaded {
		if err := r.loadSandboxes(); err != nil {
			return err
		}
	}
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	tasks, err := r.tasks.List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	processes := map[string]int{}
	for i, t := range tasks.Tasks {
		processes[t.ID] = i
	}

	known := map[string]bool{}
	for i := range records {
		rec := &records[i]
		if rec.Labels[labelContainerName] == "" {
			continue
		}
		known[rec.ID] = true
		r.mu.Lock()
		c, old := r.containers[rec.ID]
		if _, was := had[rec.ID]; !old && loaded && (was || time.Since(rec.CreatedAt) < resyncEvery) {
			r.mu.Unlock()
			continue // it was removed just now, or Create is about to remember it
		}
		if !old {
			c = r.containerFromRecord(rec)
			r.containers[rec.ID] = c
		}
		settled := c.State == runtime.Exited || c.exiting
		r.mu.Unlock()
		j, hasTask := processes[rec.ID]
		switch {
		case hasTask:
			r.resyncTask(ctx, c, tasks.Tasks[j], settled, old)
		case !settled && old && (c.State == runtime.Created || !had[rec.ID]):
			// Its task is being made, or was after the tasks were read.
		case !settled:
			// No task and no record of its end: the machine went down, or
			// containerd lost it.
			r.recordExit(ctx, c, exit{code: exitUnknown, at: time.Now(), message: "container lost: its process is gone and left no exit status"})
		}
	}
	r.mu.Lock()
	for id, c := range r.containers {
		if !known[id] && had[id] && c.hasTask && !c.exiting {
			delete(r.containers, id)
			c.closeDone()
			c.closeWitness()
		}
	}
	r.loaded = true
	r.mu.Unlock()
	return nil
}

// closeWitness is called when its end is known, or of no interest; the
// runtime's mu is held.
func (c *container) closeWitness() {
	c.witness.close()
	c.witness = none
}

func (c *container) closeDone() {
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

func (r *Runtime) containerFromRecord(rec *containers.Container) *container {
	c := &container{Container: fromLabels(rec), done: make(chan struct{})}
	c.stdin = rec.Labels[labelStdin] != ""
	c.stdinOnce = rec.Labels[labelStdin] == stdinOnce
	c.tty = rec.Labels[labelTTY] != ""
	if saved, err := r.loadState(rec.ID); err == nil {
		saved.apply(&c.Container)
	}
	if c.State == runtime.Exited {
		close(c.done)
	}
	return c
}

// Info implements runtime.Runtime.
func (r *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	info := runtime.Info{Name: "containerd", CgroupVersion: r.cgroup.version()}
	r.mu.Lock()
	err := r.connected
	r.mu.Unlock()
	if err != nil {
		return info, err
	}
	v, err := r.client.Version(ctx)
	if err != nil {
		return info, fmt.Errorf("containerd version: %w", err)
	}
	info.Version = v.Version
	if len(info.Version) > 1 && info.Version[0] == 'v' {
		info.Version = info.Version[1:]
	}
	return info, nil
}

// List implements runtime.Runtime, from memory: events and a regular resync
// keep it true.
func (r *Runtime) List(context.Context) ([]runtime.Sandbox, []runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.ready:
	default:
		return nil, nil, r.connected
	}
	sandboxes := make([]runtime.Sandbox, 0, len(r.sandboxes))
	for _, s := range r.sandboxes {
		sandboxes = append(sandboxes, *s)
	}
	containers := make([]runtime.Container, 0, len(r.containers))
	for _, c := range r.containers {
		containers = append(containers, c.Container)
	}
	return sandboxes, containers, nil
}

// Pod implements runtime.Runtime.
func (r *Runtime) Pod(_ context.Context, sandboxID string) (*runtime.Sandbox, []runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sandbox *runtime.Sandbox
	if s, ok := r.sandboxes[sandboxID]; ok {
		sandbox = new(*s)
	}
	var found []runtime.Container
	for _, c := range r.containers {
		if c.SandboxID == sandboxID {
			found = append(found, c.Container)
		}
	}
	return sandbox, found, nil
}

// Watch implements runtime.Runtime. It outlives lost connections: what changed
// meanwhile is reported after the next resync.
func (r *Runtime) Watch(ctx context.Context, f func(containerID string)) error {
	w := &watcher{notify: f}
	r.mu.Lock()
	r.watchers[w] = struct{}{}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	delete(r.watchers, w)
	r.mu.Unlock()
	return ctx.Err()
}

func (r *Runtime) notify(id string) {
	r.mu.Lock()
	watchers := make([]*watcher, 0, len(r.watchers))
	for w := range r.watchers {
		watchers = append(watchers, w)
	}
	r.mu.Unlock()
	for _, w := range watchers {
		w.notify(id)
	}
}

// get gives a container by ID.
func (r *Runtime) get(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}
