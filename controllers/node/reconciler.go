package node

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/skiffcluster/skiff/controllers/peek"
)

const (
	// Name is the controller's name in logs and metrics.
	Name = "node-lifecycle-controller"
	// EvictionName is the part that evicts pods, which can run without the rest.
	EvictionName = "taint-eviction-controller"
	// eventSource is the reporter of events on nodes, upstream's.
	eventSource = "node-controller"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=nodes/status,verbs=patch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch

// Reconciler watches over nodes. Evictor, beside it, acts on the taints that it
// writes.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache.
	Live   client.Reader
	Clock  clock.WithTicker
	Events events.EventRecorder

	// MonitorPeriod is the time between two looks at all nodes. Zero: 5 s.
	MonitorPeriod time.Duration
	// GracePeriod is how long a node may be silent. Zero: 40 s.
	GracePeriod time.Duration
	// StartupGracePeriod is the same for one that has never posted its status.
	// Zero: 60 s.
	StartupGracePeriod time.Duration
	// Rates are how fast failing nodes are given up. Zero fields: 0.1 and 0.01
	// nodes per second, 50 nodes, 55 percent.
	Rates Rates

	nodes  peek.Store[*corev1.Node]
	leases peek.Store[*coordinationv1.Lease]

	known map[string]known
	zones *zones
}

// known is what the monitor remembers of a node.
type known struct {
	uid    types.UID
	health *health
}

// SetupWithManager adds the monitor, which looks at all nodes every
// MonitorPeriod, and starts a turn for a node's NoSchedule taints and labels
// when its conditions change.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	registerMetrics()
	r.setDefaults(mgr)
	var err error
	if r.nodes, err = peek.At(mgr, &corev1.Node{}); err != nil {
		return err
	}
	if r.leases, err = peek.At(mgr, &coordinationv1.Lease{}); err != nil {
		return err
	}
	r.known = map[string]known{}
	r.zones = newZones(r.Rates)
	if err := mgr.Add(manager.RunnableFunc(r.monitor)); err != nil {
		return err
	}
	if err := (&tainter{Reconciler: r}).setup(mgr); err != nil {
		return fmt.Errorf("watch node conditions: %w", err)
	}
	return nil
}

func (r *Reconciler) setDefaults(mgr ctrl.Manager) {
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(eventSource)
	}
	setDefault(&r.MonitorPeriod, 5*time.Second)
	setDefault(&r.GracePeriod, 40*time.Second)
	setDefault(&r.StartupGracePeriod, time.Minute)
	setDefault(&r.Rates.Normal, 0.1)
	setDefault(&r.Rates.Reduced, 0.01)
	setDefault(&r.Rates.LargeCluster, 50)
	setDefault(&r.Rates.Unhealthy, 0.55)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// writeTaints writes what plan makes of a node's taints, trying again with the
// node as it is when it changed meanwhile (its agent posts every few seconds).
// It tells whether there was something to write; a node that is gone is none.
func (r *Reconciler) writeTaints(ctx context.Context, node *corev1.Node, plan func(*corev1.Node) ([]corev1.Taint, bool)) (bool, error) {
	const tries = 5
	var err error
	for range tries {
		taints, changed := plan(node)
		if !changed {
			return false, nil
		}
		after := node.DeepCopy()
		after.Spec.Taints = taints
		before := client.MergeFromWithOptions(node.DeepCopy(), client.MergeFromWithOptimisticLock{})
		err = r.Client.Patch(ctx, after, before)
		if !apierrors.IsConflict(err) {
			break
		}
		fresh := &corev1.Node{}
		if err := r.Live.Get(ctx, client.ObjectKey{Name: node.Name}, fresh); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		if fresh.UID != node.UID {
			return false, nil
		}
		node = fresh
	}
	if err != nil {
		return false, client.IgnoreNotFound(fmt.Errorf("write taints of node %s: %w", node.Name, err))
	}
	return true, nil
}

// tell records an event on a node.
func (r *Reconciler) tell(name string, uid types.UID, reason, format string, args ...any) {
	regarding := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: uid}
	r.Events.Eventf(regarding, nil, corev1.EventTypeNormal, reason, "MonitorNode", format, args...)
}
