package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// Config of a [Prober].
type Config struct {
	// Exec runs the commands of exec probes.
	Exec Execer
	// Changed is called, one call at a time for each container, when the
	// answer of a probe has changed: ready or not ready, started, or, with a
	// failed liveness or startup probe, to be killed. It must not block.
	Changed func(Change)
	// Event records an event of the target's container; type, reason and
	// message are as the kubelet's.
	Event func(t Target, eventType, reason, message string)
	// Clock is the real one if nil.
	Clock clock.WithTickerAndDelayedExecution
}

// Target is one running container. What its probes need is copied from it when
// they start.
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

// Prober probes the containers of one node.
type Prober struct{ cfg Config }

// New makes a Prober, which does nothing before Start.
func New(cfg Config) (*Prober, error) { return &Prober{cfg: cfg}, nil }

// Run ends all probes when ctx ends.
func (p *Prober) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Start begins to probe a container that runs. It returns at once. A container
// that is already probed, or has no probes, is left as it is.
func (p *Prober) Start(t Target) {}

// Stop ends the probes of a container.
func (p *Prober) Stop(containerID string) {}

// StopForTermination ends liveness and startup probes of a pod that is being
// ended; readiness goes on until Stop.
func (p *Prober) StopForTermination(podUID string) {}

// State gives the latest answers. A container that was never started here is
// not known.
func (p *Prober) State(containerID string) (State, bool) { return State{}, false }
