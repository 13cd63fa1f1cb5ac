package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	nodetopology "k8s.io/component-helpers/node/topology"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// excludedLabel keeps a node out of the census of its zone.
	excludedLabel = "node.kubernetes.io/exclude-disruption"
	// writers is how many silent nodes are written at a time (upstream's number).
	writers = 8
)

// monitor looks at all nodes every period until ctx ends, and gives up those
// that fail when it is their turn.
func (r *Reconciler) monitor(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("controller", Name))
	ticker := r.Clock.NewTicker(r.MonitorPeriod)
	defer ticker.Stop()
	r.look(ctx)
	for {
		var turn <-chan time.Time
		stop := func() bool { return true }
		if wait := r.giveUp(ctx); wait > 0 {
			timer := r.Clock.NewTimer(wait)
			turn, stop = timer.C(), timer.Stop
		}
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-ticker.C():
			r.look(ctx)
		case <-turn:
		}
		stop()
	}
}

// look is one look at all nodes. It costs no request as long as all is well.
func (r *Reconciler) look(ctx context.Context) {
	nodes := r.nodes.List()
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	now := r.Clock.Now()
	r.greet(nodes)

	var silent []*corev1.Node
	for _, node := range nodes {
		lease := r.lease(node.Name)
		h := observe(r.known[node.Name].health, node, lease, now)
		r.known[node.Name] = known{uid: node.UID, health: &h}
		if h.silent(now, r.GracePeriod, r.StartupGracePeriod) {
			silent = append(silent, node)
		}
	}
	marked := r.markUnknown(ctx, silent, now)

	counts := map[string]census{}
	for i, node := range nodes {
		if fresh := marked[node.Name]; fresh != nil {
			node = fresh
			nodes[i] = fresh
		}
		zone := nodetopology.GetZoneKey(node)
		if _, excluded := node.Labels[excludedLabel]; !excluded {
			count := counts[zone]
			if readiness(node) == corev1.ConditionTrue {
				count.ready++
			} else {
				count.notReady++
			}
			counts[zone] = count
		} else if _, counted := counts[zone]; !counted {
			counts[zone] = census{} // its zone exists all the same
		}
	}
	r.followReadiness(ctx, nodes)
	r.followDisruption(ctx, nodes, counts, now)
}

// greet tells of nodes that came and went since the last look.
func (r *Reconciler) greet(nodes []*corev1.Node) {
	present := make(map[string]types.UID, len(nodes))
	for _, node := range nodes {
		present[node.Name] = node.UID
	}
	for name, before := range r.known {
		if present[name] != before.uid {
			r.tell(name, before.uid, "RemovingNode", "Node %s event: Removing Node %s from Controller", name, name)
			delete(r.known, name)
			r.zones.remove(name)
		}
	}
	for _, node := range nodes {
		if _, before := r.known[node.Name]; !before {
			r.tell(node.Name, node.UID, "RegisteredNode", "Node %s event: Registered Node %s in Controller", node.Name, node.Name)
		}
	}
}

func (r *Reconciler) lease(name string) *coordinationv1.Lease {
	lease, ok := r.leases.Get(types.NamespacedName{Namespace: corev1.NamespaceNodeLease, Name: name})
	if !ok {
		return nil
	}
	return lease
}

// markUnknown writes the conditions of silent nodes and returns the nodes as
// they are then. One that changed meanwhile is alive and is left for the next
// look.
func (r *Reconciler) markUnknown(ctx context.Context, silent []*corev1.Node, now time.Time) map[string]*corev1.Node {
	var mu sync.Mutex
	marked := map[string]*corev1.Node{}
	workqueue.ParallelizeUntil(ctx, writers, len(silent), func(i int) {
		node := silent[i]
		conditions := planUnknown(node, now)
		if conditions == nil {
			return
		}
		after := node.DeepCopy()
		after.Status.Conditions = conditions
		before := client.StrategicMergeFrom(node.DeepCopy(), client.MergeFromWithOptimisticLock{})
		if err := r.Client.Status().Patch(ctx, after, before); err != nil {
			if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "Failed to mark silent node", "Node", klog.KObj(node))
			}
			return
		}
		klog.FromContext(ctx).Info("Node is silent", "Node", klog.KObj(node))
		if readiness(node) == corev1.ConditionTrue {
			r.tell(node.Name, node.UID, "NodeNotReady", "Node %s status is now: %s", node.Name, "NodeNotReady")
		}
		mu.Lock()
		defer mu.Unlock()
		marked[node.Name] = after
	})
	return marked
}

// followReadiness queues nodes that are not ready to be given up, and takes back
// those that are ready again.
func (r *Reconciler) followReadiness(ctx context.Context, nodes []*corev1.Node) {
	for _, node := range nodes {
		wanted, failing := noExecuteTaint(readiness(node))
		switch {
		case !failing && readiness(node) == corev1.ConditionTrue:
			r.zones.remove(node.Name)
			r.setNoExecute(ctx, node)
		case !failing || hasTaint(node.Spec.Taints, wanted):
			// It has said nothing yet, or all is done.
		case slices.ContainsFunc(node.Spec.Taints, isNoExecuteOfOurs):
			// It has been given up before; only the reason is another now.
			r.setNoExecute(ctx, node, wanted)
		default:
			if r.zones.add(nodetopology.GetZoneKey(node), node.Name) {
				klog.FromContext(ctx).V(1).Info("Node is to be given up", "Node", klog.KObj(node))
			}
		}
	}
}

// followDisruption adapts how fast nodes are given up to how many fail.
func (r *Reconciler) followDisruption(ctx context.Context, nodes []*corev1.Node, counts map[string]census, now time.Time) {
	switch r.zones.update(counts, now) {
	case begins:
		klog.FromContext(ctx).Info("No node is ready; no pod is evicted until one is")
		for _, node := range nodes {
			r.setNoExecute(ctx, node)
		}
	case ends:
		klog.FromContext(ctx).Info("Some nodes are ready again; pods are evicted from the others")
		for _, known := range r.known {
			known.health.probed = now
		}
	case noDisruption:
	}
}

// giveUp taints the nodes whose turn it is, and returns the time until the next
// one's.
func (r *Reconciler) giveUp(ctx context.Context) time.Duration {
	due, wait := r.zones.due(r.Clock.Now(), func(name string) bool {
		node, ok := r.nodes.Get(types.NamespacedName{Name: name})
		if !ok {
			return false
		}
		_, failing := noExecuteTaint(readiness(node))
		return failing
	})
	for _, name := range due {
		if node, ok := r.nodes.Get(types.NamespacedName{Name: name}); ok {
			if wanted, failing := noExecuteTaint(readiness(node)); failing && r.setNoExecute(ctx, node, wanted) {
				evictions.WithLabelValues(nodetopology.GetZoneKey(node)).Inc()
			}
		}
	}
	return wait
}

// setNoExecute makes the node have exactly these NoExecute taints of ours, and
// tells whether it had others. A failure is made good at the next look.
func (r *Reconciler) setNoExecute(ctx context.Context, node *corev1.Node, wanted ...corev1.Taint) (changed bool) {
	changed, err := r.writeTaints(ctx, node, func(node *corev1.Node) ([]corev1.Taint, bool) {
		return planTaints(node.Spec.Taints, isNoExecuteOfOurs, wanted, r.Clock.Now())
	})
	switch {
	case err != nil && ctx.Err() == nil:
		klog.FromContext(ctx).Error(err, "Failed to taint node", "Node", klog.KObj(node))
	case changed:
		klog.FromContext(ctx).Info("Changed the taints that evict pods", "Node", klog.KObj(node), "taints", fmt.Sprint(wanted))
	}
	return changed && err == nil
}
