package probe

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Execer runs a command in a container. The error is not nil only where the
// command could not be run; a context that ends kills it.
type Execer interface {
	ExecProbe(ctx context.Context, containerID string, command []string) (exitCode int, output []byte, err error)
}

// Kind of a probe, as its events begin.
type Kind string

// The kinds of probe.
const (
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
	Startup   Kind = "Startup"
)

// Reasons of events.
const (
	ReasonUnhealthy = "Unhealthy"
	ReasonWarning   = "ProbeWarning"
)

// Config of a [Prober].
type Config struct {
	// Exec runs the commands of exec probes.
	Exec Execer
	// Changed is called, one call at a time for each container, when the
	// answer of a probe has changed: ready or not ready, started, or, with a
	// failed liveness or startup probe, to be killed. It may call the Prober.
	Changed func(Change)
	// Event records an event of the target's container; type, reason and
	// message are as the kubelet's. May be nil.
	Event func(t Target, eventType, reason, message string)
	// Clock is the real one if nil.
	Clock clock.WithDelayedExecution
}

// Target is one running container. It must not be changed.
type Target struct {
	Pod       *corev1.Pod
	Container *corev1.Container // of Pod.Spec.Containers or a restartable init container
	ID        string            // of the runtime, without a scheme
	StartedAt time.Time
	// PodIP is asked where a probe names no host.
	PodIP string
	// WasStarted and WasReady carry over what the pod's status says of this
	// very container after a restart of the agent.
	WasStarted, WasReady bool
}

// State of a container according to its probes.
type State struct {
	// Started: it has no startup probe, or that has succeeded.
	Started bool
	// Ready: it has started, and has no readiness probe or that succeeds.
	Ready bool
	// Failed is the probe for which the container must be killed: Liveness,
	// Startup, or empty.
	Failed Kind
}

// Change tells of a new answer.
type Change struct {
	Target Target
	Kind   Kind
	State  State
	// Message of the probe that made the change, empty if it succeeded.
	Message string
}

// Prober probes the containers of one node. A probe costs a timer while it
// waits and a goroutine only while it asks.
type Prober struct {
	cfg    Config
	http   *httpProber
	ctx    context.Context //nolint:containedctx // The life of all probes, which begin by timers.
	cancel context.CancelFunc

	mu         sync.Mutex
	running    sync.WaitGroup // probes that are asking; begun under mu unless closed
	closed     bool
	containers map[string]*container
}

// container is what is known of one target; all but notify is under the
// Prober's lock.
type container struct {
	target  Target
	state   State
	workers map[Kind]*worker
	notify  sync.Mutex // held from a decision until Changed has returned
}

// New makes a Prober, which does nothing before Start.
func New(cfg Config) (*Prober, error) {
	if cfg.Changed == nil {
		return nil, errors.New("probe: Config.Changed is not set")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Prober{cfg: cfg, http: newHTTPProber(), ctx: ctx, cancel: cancel, containers: map[string]*container{}}, nil
}

// Run ends all probes when ctx ends.
func (p *Prober) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.containers {
		c.stop(Liveness, Readiness, Startup)
	}
	p.mu.Unlock()
	p.cancel()
	p.running.Wait()
	return nil
}

// Start begins to probe a container that runs. It returns at once. A container
// that is already known is left as it is.
func (p *Prober) Start(t Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.containers[t.ID] != nil || p.closed {
		return
	}
	c := &container{target: t, workers: map[Kind]*worker{}}
	c.state.Started = t.Container.StartupProbe == nil || t.WasStarted
	c.state.Ready = c.state.Started && (t.Container.ReadinessProbe == nil || t.WasReady)
	p.containers[t.ID] = c
	if c.state.Started {
		p.startWhenStarted(c, rand.Float64())
	} else {
		p.begin(c, Startup, t.Container.StartupProbe, rand.Float64())
	}
}

// startWhenStarted begins the probes that wait for the startup probe; p.mu is
// held.
func (p *Prober) startWhenStarted(c *container, spread float64) {
	p.begin(c, Liveness, c.target.Container.LivenessProbe, spread)
	p.begin(c, Readiness, c.target.Container.ReadinessProbe, spread)
}

// begin begins one probe, if the container has it; p.mu is held.
func (p *Prober) begin(c *container, kind Kind, spec *corev1.Probe, spread float64) {
	if spec == nil {
		return
	}
	w := &worker{prober: p, container: c, kind: kind, spec: withDefaults(spec)}
	if kind == Readiness && c.state.Ready {
		w.last, w.run = success, 1 // as it was before the agent was restarted
	}
	c.workers[kind] = w
	delay := firstDelay(p.cfg.Clock.Since(c.target.StartedAt), w.spec, spread)
	w.wait(delay)
}

// firstDelay is how long to wait before the first probe of a container of that
// age. What has long been running is met after a restart of the agent,
// together with all else on the node: its probes are spread over a period, by a
// number from 0 to 1.
func firstDelay(age time.Duration, spec *corev1.Probe, spread float64) time.Duration {
	initial := time.Duration(spec.InitialDelaySeconds) * time.Second
	period := periodOf(spec)
	if age > initial+period {
		return time.Duration(spread * float64(period))
	}
	return max(0, initial-age)
}

// Stop ends the probes of a container.
func (p *Prober) Stop(containerID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.containers[containerID]; c != nil {
		c.stop(Liveness, Readiness, Startup)
		delete(p.containers, containerID)
	}
}

// StopForTermination ends liveness and startup probes of a pod that is being
// ended; readiness goes on until Stop.
func (p *Prober) StopForTermination(podUID types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.containers {
		if c.target.Pod.UID == podUID {
			c.stop(Liveness, Startup)
			c.state.Failed = ""
		}
	}
}

// State gives the latest answers. A container that was never started here is
// not known.
func (p *Prober) State(containerID string) (State, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.containers[containerID]; c != nil {
		return c.state, true
	}
	return State{}, false
}

// stop ends probes; the Prober's lock is held. One that is asking is not waited
// for: its answer does not count.
func (c *container) stop(kinds ...Kind) {
	for _, kind := range slices.Collect(maps.Keys(c.workers)) {
		if slices.Contains(kinds, kind) {
			c.workers[kind].timer.Stop()
			delete(c.workers, kind)
		}
	}
}

// GracePeriod is how long a container that is killed for a probe has to end, in
// seconds: the probe's own, or nil for the pod's.
func GracePeriod(c *corev1.Container, failed Kind) *int64 {
	switch {
	case failed == Liveness && c.LivenessProbe != nil:
		return c.LivenessProbe.TerminationGracePeriodSeconds
	case failed == Startup && c.StartupProbe != nil:
		return c.StartupProbe.TerminationGracePeriodSeconds
	}
	return nil
}

// withDefaults fills in what the API server would have.
func withDefaults(spec *corev1.Probe) *corev1.Probe {
	s := *spec
	if s.PeriodSeconds <= 0 {
		s.PeriodSeconds = 10
	}
	if s.TimeoutSeconds <= 0 {
		s.TimeoutSeconds = 1
	}
	if s.SuccessThreshold <= 0 {
		s.SuccessThreshold = 1
	}
	if s.FailureThreshold <= 0 {
		s.FailureThreshold = 3
	}
	return &s
}

func periodOf(spec *corev1.Probe) time.Duration {
	return time.Duration(spec.PeriodSeconds) * time.Second
}
