package eviction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// transition is how long a condition holds on after its signal has gone, so
	// that it does not come and go; evictionPressureTransitionPeriod.
	transition = 5 * time.Minute
	// hardGrace is how long an evicted pod has to end. Nothing, as far as the
	// threshold is concerned; 1 s lets processes see the signal.
	hardGrace = time.Second
)

// Reasons of events and of evicted pods.
const (
	ReasonEvicted      = "Evicted"
	ReasonThresholdMet = "EvictionThresholdMet"
)

// Usage is what a pod uses. Bytes.
type Usage struct {
	Memory uint64 // working set
	Disk   uint64 // logs, writable layers and emptyDirs on disk
	Inodes uint64
	Pids   uint64
	// Containers and EmptyDirs by name; what is missing counts as 0.
	Containers map[string]ContainerUsage
	EmptyDirs  map[string]uint64 // bytes on disk
}

// ContainerUsage is what a container uses. Bytes.
type ContainerUsage struct {
	Memory uint64 // working set
	Disk   uint64 // its log and writable layer
}

// Backend is what eviction needs of the agent.
type Backend interface {
	// Pods are the pods of this node that have not ended.
	Pods() []*corev1.Pod
	// Usage of one pod; false where it is not known.
	Usage(ctx context.Context, uid types.UID) (Usage, bool)
	// Evict ends a pod: phase Failed, reason Evicted, the message, and the
	// condition DisruptionTarget with reason TerminationByKubelet and the
	// message. It returns when the containers are gone.
	Evict(ctx context.Context, pod *corev1.Pod, message string, grace time.Duration) error
}

// Config of an [Evictor].
type Config struct {
	Backend Backend
	// DataDir and ImageDir are on the file systems that are watched as nodefs
	// and imagefs; they may be the same.
	DataDir, ImageDir string
	// Hard thresholds by signal, "10%" or a quantity; the kubelet's defaults
	// where nil.
	Hard map[Signal]string
	// Images is asked to free disk before pods are evicted; may be nil.
	Images *Images
	// Event records a Warning of the node; may be nil.
	Event func(reason, message string)
	// Period between looks; 10 s.
	Period time.Duration
	// Clock is the real one if nil.
	Clock clock.WithTicker
	// Observe reads the signals; the machine's own where nil.
	Observe func() (Observations, error)
}

// Evictor watches one node.
type Evictor struct {
	cfg        Config
	thresholds []threshold

	mu       sync.Mutex
	lastSeen map[corev1.NodeConditionType]time.Time // when a threshold was met
}

// New makes an Evictor.
func New(cfg Config) (*Evictor, error) {
	if cfg.Backend == nil {
		return nil, errors.New("eviction: Config.Backend is not set")
	}
	if cfg.Hard == nil {
		cfg.Hard = DefaultHard()
	}
	if cfg.Period == 0 {
		cfg.Period = 10 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func() (Observations, error) { return observe(cfg.DataDir, cfg.ImageDir) }
	}
	e := &Evictor{cfg: cfg, lastSeen: map[corev1.NodeConditionType]time.Time{}}
	for _, signal := range slices.Sorted(maps.Keys(cfg.Hard)) {
		t, err := parseThreshold(signal, cfg.Hard[signal])
		if err != nil {
			return nil, err
		}
		e.thresholds = append(e.thresholds, t)
	}
	return e, nil
}

// Run watches until ctx ends.
func (e *Evictor) Run(ctx context.Context) error {
	ticker := e.cfg.Clock.NewTicker(e.cfg.Period)
	defer ticker.Stop()
	for {
		if err := e.look(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Look at the resources of the node failed")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// look evicts at most one pod, so that what that frees is seen before the next.
// Pods that exceed limits of their own go first, and all of them: they are not
// the node's problem only.
func (e *Evictor) look(ctx context.Context) error {
	if evicted, err := e.enforceLimits(ctx); evicted || err != nil {
		return err
	}
	seen, err := e.cfg.Observe()
	if err != nil {
		return fmt.Errorf("read the signals: %w", err)
	}
	met := metThresholds(e.thresholds, seen)
	e.notePressure(met)
	if len(met) == 0 {
		return nil
	}
	first := met[0]
	if e.cfg.Event != nil {
		e.cfg.Event(ReasonThresholdMet, fmt.Sprintf("Attempting to reclaim %s", first.signal.resource()))
	}
	if first.signal.condition() == corev1.NodeDiskPressure && e.cfg.Images != nil {
		if _, err := e.cfg.Images.Free(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "Remove unused images failed")
		}
		if seen, err = e.cfg.Observe(); err != nil {
			return fmt.Errorf("read the signals: %w", err)
		}
		if len(metThresholds([]threshold{first}, seen)) == 0 {
			return nil
		}
	}
	return e.evictOne(ctx, first, seen)
}

// evictOne ends the first pod of the ranking that can be.
func (e *Evictor) evictOne(ctx context.Context, t threshold, seen Observations) error {
	var candidates []candidate
	for _, pod := range e.cfg.Backend.Pods() {
		if isCritical(pod) {
			continue
		}
		usage, known := e.cfg.Backend.Usage(ctx, pod.UID)
		candidates = append(candidates, candidate{pod: pod, usage: usage, known: known})
	}
	rank(t.signal, candidates)
	var failed []error
	for _, c := range candidates {
		message := evictionMessage(t, seen[t.signal], c)
		if err := e.cfg.Backend.Evict(ctx, c.pod, message, hardGrace); err != nil {
			failed = append(failed, fmt.Errorf("evict pod %s/%s: %w", c.pod.Namespace, c.pod.Name, err))
			continue
		}
		return nil
	}
	return errors.Join(failed...)
}

// enforceLimits ends the pods that use more local disk than they may.
func (e *Evictor) enforceLimits(ctx context.Context) (bool, error) {
	evicted := false
	var failed []error
	for _, pod := range e.cfg.Backend.Pods() {
		if !hasDiskLimit(pod) {
			continue
		}
		usage, known := e.cfg.Backend.Usage(ctx, pod.UID)
		if !known {
			continue
		}
		message := exceeded(pod, usage)
		if message == "" {
			continue
		}
		if err := e.cfg.Backend.Evict(ctx, pod, message, hardGrace); err != nil {
			failed = append(failed, fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err))
			continue
		}
		evicted = true
	}
	return evicted, errors.Join(failed...)
}

func (e *Evictor) notePressure(met []threshold) {
	now := e.cfg.Clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range met {
		e.lastSeen[t.signal.condition()] = now
	}
}

// Pressure tells which of MemoryPressure, DiskPressure and PIDPressure hold, for
// the node's conditions; they hold on for 5 minutes after the signal has gone.
func (e *Evictor) Pressure() map[corev1.NodeConditionType]bool {
	now := e.cfg.Clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	pressure := map[corev1.NodeConditionType]bool{
		corev1.NodeMemoryPressure: false, corev1.NodeDiskPressure: false, corev1.NodePIDPressure: false,
	}
	for condition, seen := range e.lastSeen {
		pressure[condition] = now.Sub(seen) < transition
	}
	return pressure
}

// Admit tells whether the node can take a pod. If not, message is the status
// message of the rejected pod, whose reason is Evicted.
func (e *Evictor) Admit(pod *corev1.Pod) (ok bool, message string) {
	var holding []string
	for condition, holds := range e.Pressure() {
		if holds {
			holding = append(holding, string(condition))
		}
	}
	if len(holding) == 0 || isCritical(pod) {
		return true, ""
	}
	slices.Sort(holding)
	// Where only memory is short, pods that have asked for it are welcome.
	if slices.Equal(holding, []string{string(corev1.NodeMemoryPressure)}) &&
		(!isBestEffort(pod) || toleratesMemoryPressure(pod)) {
		return true, ""
	}
	return false, fmt.Sprintf("The node had condition: [%s]. ", strings.Join(holding, " "))
}
