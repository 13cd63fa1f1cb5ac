package eviction

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

var errNotYet = errors.New("not yet written")

// Usage is what a pod uses. Bytes.
type Usage struct {
	Memory uint64 // working set
	Disk   uint64 // logs, writable layers and local volumes
	Inodes uint64
	Pids   uint64
}

// Backend is what eviction needs of the agent.
type Backend interface {
	// Pods are the pods of this node that have not ended.
	Pods() []*corev1.Pod
	// Usage of one pod; false where it is not known.
	Usage(ctx context.Context, uid types.UID) (Usage, bool)
	// Evict ends a pod: phase Failed, reason Evicted, the message, and the
	// condition DisruptionTarget with reason TerminationByKubelet. It returns
	// when the containers are gone.
	Evict(ctx context.Context, pod *corev1.Pod, message string, grace time.Duration) error
}

// Config of an [Evictor].
type Config struct {
	Backend Backend
	// DataDir and ImageDir are on the file systems that are watched as nodefs
	// and imagefs; one and the same where they share it.
	DataDir, ImageDir string
	// Hard thresholds by signal, "10%" or a quantity; the kubelet's defaults
	// where nil.
	Hard map[Signal]string
	// Images is asked to free disk before pods are evicted; may be nil.
	Images *Images
	// Event records a Warning of the node.
	Event func(reason, message string)
	// Period between looks; 10 s.
	Period time.Duration
	Clock  clock.WithTicker
	// Observe reads the signals; the machine's own where nil.
	Observe func() (Observations, error)
}

// Signal is a resource that runs out.
type Signal string

// Observation is how much is there of a resource: bytes, inodes or PIDs.
type Observation struct{ Available, Capacity uint64 }

// Observations by signal.
type Observations map[Signal]Observation

// Evictor watches one node.
type Evictor struct{}

// New makes an Evictor.
func New(cfg Config) (*Evictor, error) { return nil, errNotYet }

// Run watches until ctx ends.
func (e *Evictor) Run(ctx context.Context) error { return errNotYet }

// Pressure tells which of MemoryPressure, DiskPressure and PIDPressure hold, for
// the node's conditions; they hold on for 5 minutes after the signal has gone.
func (e *Evictor) Pressure() map[corev1.NodeConditionType]bool { return nil }

// Admit tells whether the node can take a pod. If not, message is the status
// message of the rejected pod, whose reason is Evicted.
func (e *Evictor) Admit(pod *corev1.Pod) (ok bool, message string) { return true, "" }

// ImageStore is the part of runtime.Runtime that image garbage collection needs.
type ImageStore interface {
	List(ctx context.Context) ([]runtime.Sandbox, []runtime.Container, error)
	ListImages(ctx context.Context) ([]runtime.Image, error)
	RemoveImage(ctx context.Context, id string) error
}

// ImagesConfig of [Images].
type ImagesConfig struct {
	Store ImageStore
	// Dir is on the file system of the images.
	Dir string
	// HighPercent of the disk used starts a collection down to LowPercent: 85
	// and 80.
	HighPercent, LowPercent int
	// MinAge an image must have been unused for; 2 minutes.
	MinAge time.Duration
	// Keep names images that are never removed.
	Keep []string
	// Event records a Warning of the node.
	Event func(reason, message string)
	Clock clock.WithTicker
}

// Images removes images that nothing uses when the disk fills.
type Images struct{}

// NewImages makes an image garbage collector.
func NewImages(cfg ImagesConfig) (*Images, error) { return nil, errNotYet }

// Run looks every 5 minutes until ctx ends.
func (i *Images) Run(ctx context.Context) error { return errNotYet }

// Free removes all unused images and tells how many bytes that gave.
func (i *Images) Free(ctx context.Context) (int64, error) { return 0, errNotYet }
