package podworker

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/probe"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Kind of an action.
type Kind string

// The kinds of action.
const (
	// MakeSandbox makes the pod's namespaces and cgroup.
	MakeSandbox Kind = "MakeSandbox"
	// AttachNetwork connects the sandbox.
	AttachNetwork Kind = "AttachNetwork"
	// PrepareVolumes makes all volumes ready.
	PrepareVolumes Kind = "PrepareVolumes"
	// StartContainer pulls the image if need be, creates the container, waits
	// for the network and starts it.
	StartContainer Kind = "StartContainer"
	// KillContainer ends a container: hook, signal, and at the deadline SIGKILL.
	KillContainer Kind = "KillContainer"
	// RemoveContainer removes one that has ended and is not needed any more.
	RemoveContainer Kind = "RemoveContainer"
	// ResizePod brings cgroups to the resources that the pod was allocated.
	ResizePod Kind = "ResizePod"
	// Teardown removes network, volumes and sandbox; containers that have
	// ended are left for their logs.
	Teardown Kind = "Teardown"
	// Forget removes all that is left of a pod that is gone from the API.
	Forget Kind = "Forget"
)

// Action is one thing to do.
type Action struct {
	Kind Kind
	// Container is its name; ID that of the runtime.
	Container string
	ID        string
	Type      runtime.ContainerKind
	Attempt   int
	// Deadline is when a container that was asked to end is killed.
	Deadline time.Time
	// Message is why, for the event Killing.
	Message string
}

// Key tells actions apart that must not run at the same time.
func (a Action) Key() string {
	switch a.Kind {
	case StartContainer:
		return StartKey(a.Container)
	case KillContainer, RemoveContainer:
		return string(a.Kind) + "/" + a.ID
	}
	return string(a.Kind)
}

// StartKey is the key of a container's start.
func StartKey(container string) string { return string(StartContainer) + "/" + container }

// Failure is how an action failed the last time.
type Failure struct {
	// Reason and Message are of the container's waiting state, where it has
	// one.
	Reason, Message string
	// Image that could not be had: the container's, or one that it mounts.
	Image string
	Time  time.Time
	// Count of failures in a row.
	Count int
}

// Backoff of a container that ends again and again.
type Backoff struct {
	// Delay after the end of the container before it is started again.
	Delay time.Duration
	// Since is when it was last started again.
	Since time.Time
	// Told says that the event BackOff was sent for this delay.
	Told time.Duration
}

// Ending is why the node ends a pod that the API does not delete.
type Ending struct {
	Reason, Message string
	// Grace in seconds; nil for the pod's own.
	Grace *int64
	// Condition is added to the status if it has a type.
	Condition corev1.PodCondition
	// Rejected pods were never started.
	Rejected bool
	// Since is when it was decided.
	Since time.Time
}

// State is what a worker remembers of its pod between turns.
type State struct {
	Busy     map[string]Action
	Failures map[string]Failure
	Backoffs map[string]*Backoff

	// Attached says that the sandbox of SandboxTime is connected.
	Attached     bool
	SandboxTime  time.Time
	VolumesReady bool
	PodIPs       []string

	// Pending and Resizing are a resize that waits, and one that is carried out;
	// nil for none. They are replaced, never changed.
	Pending, Resizing *Resize
	// Replaced are containers, ID by name, that are ended to be started anew at
	// once, however they end.
	Replaced map[string]string

	Ending *Ending
	// TornDown says that nothing is left to tear down.
	TornDown bool
	// Forgotten says that nothing at all is left.
	Forgotten bool
	// StartTime is when the node took the pod up.
	StartTime time.Time
}

// Resize is a change of resources: why it waits, or how it goes.
type Resize struct {
	Reason, Message string
	// Generation of the pod that asks for it.
	Generation int64
}

// NewState begins.
func NewState(now time.Time) *State {
	return &State{Busy: map[string]Action{}, Failures: map[string]Failure{}, Backoffs: map[string]*Backoff{}, StartTime: now}
}

// Observed is what others say of a pod.
type Observed struct {
	Sandbox    *runtime.Sandbox
	Containers []runtime.Container
	// Probes gives a running container's answers.
	Probes func(containerID string) (probe.State, bool)
}

// Input of a turn.
type Input struct {
	Pod *corev1.Pod
	// Removed says that the pod is gone from the API.
	Removed bool
	Observed
	Now time.Time
}

// Event is a pod event to send.
type Event struct{ Type, Reason, Message, Container string }

// Output of a turn.
type Output struct {
	Actions []Action
	Events  []Event
	// Wake is when to look again if nothing happens; zero for never.
	Wake time.Time
}
