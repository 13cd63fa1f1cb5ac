package ttl

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/peek"
	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch

// Reconciler keeps the annotation of each node.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock

	nodes peek.Store[*corev1.Node]

	mu      sync.Mutex
	level   int // of levels
	counted time.Time
}

// recount is how long a count of the nodes serves: nodes report all the time,
// and so many of them at once that counting for each would be quadratic.
const recount = time.Second

// SetupWithManager adds the controller to mgr.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	var err error
	if r.nodes, err = peek.At(mgr, &corev1.Node{}); err != nil {
		return err
	}
	return turn.NewController(mgr).Named("ttl-controller").For(&corev1.Node{}).Complete(r)
}

// Reconcile runs one turn for one node.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	node, ok := r.nodes.Get(req.NamespacedName)
	if !ok {
		return ctrl.Result{}, nil
	}
	want := strconv.Itoa(r.seconds())
	if node.Annotations[corev1.ObjectTTLAnnotationKey] == want {
		return ctrl.Result{}, nil
	}
	changed := node.DeepCopy()
	metav1.SetMetaDataAnnotation(&changed.ObjectMeta, corev1.ObjectTTLAnnotationKey, want)
	if err := r.Client.Patch(ctx, changed, client.StrategicMergeFrom(node)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("annotate node %s: %w", node.Name, err)
	}
	return ctrl.Result{}, nil
}

// seconds is the time for as many nodes as there are.
func (r *Reconciler) seconds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.Clock.Now(); now.Sub(r.counted) >= recount {
		r.level, r.counted = planLevel(r.level, len(r.nodes.List())), now
	}
	return levels[r.level].seconds
}

// levels overlap, so that a cluster at a border does not go to and fro
// (upstream's numbers).
var levels = []struct{ least, most, seconds int }{
	{0, 100, 0},
	{90, 500, 15},
	{450, 1000, 30},
	{900, 2000, 60},
	{1800, 10000, 300},
	{9000, math.MaxInt, 600},
}

// planLevel moves from a level to that for so many nodes.
func planLevel(level, nodes int) int {
	for nodes < levels[level].least {
		level--
	}
	for nodes > levels[level].most {
		level++
	}
	return level
}
