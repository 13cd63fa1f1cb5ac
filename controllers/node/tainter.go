package node

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// tainter keeps a node's NoSchedule taints and older labels in line with its
// conditions, at once: they only keep new pods away.
type tainter struct{ *Reconciler }

func (t *tainter) setup(mgr ctrl.Manager) error {
	changed := predicate.Funcs{
		// Heartbeats change times only.
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Node)
			after, ok2 := e.ObjectNew.(*corev1.Node)
			return ok1 && ok2 && needsTurn(before, after)
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Node{}, builder.WithPredicates(changed)).
		Complete(t)
}

// needsTurn tells whether a change may matter to taints and labels.
func needsTurn(before, after *corev1.Node) bool {
	wantedBefore, wantedAfter := noScheduleTaints(before), noScheduleTaints(after)
	if len(wantedBefore) != len(wantedAfter) || len(before.Spec.Taints) != len(after.Spec.Taints) || !maps.Equal(before.Labels, after.Labels) {
		return true
	}
	for i := range wantedAfter {
		if !wantedAfter[i].MatchTaint(&wantedBefore[i]) {
			return true
		}
	}
	for i := range after.Spec.Taints {
		if identity(after.Spec.Taints[i]) != identity(before.Spec.Taints[i]) {
			return true
		}
	}
	return false
}

// Reconcile brings one node's NoSchedule taints and labels in line.
func (t *tainter) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	node := &corev1.Node{}
	if err := t.Client.Get(ctx, req.NamespacedName, node); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	_, err := t.writeTaints(ctx, node, func(node *corev1.Node) ([]corev1.Taint, bool) {
		return planTaints(node.Spec.Taints, isNoScheduleOfOurs, noScheduleTaints(node), t.Clock.Now())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	missing := planLabels(node.Labels)
	if len(missing) == 0 {
		return ctrl.Result{}, nil
	}
	labeled := node.DeepCopy()
	maps.Copy(labeled.Labels, missing)
	if err := t.Client.Patch(ctx, labeled, client.MergeFrom(node)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("label node %s: %w", node.Name, err)
	}
	return ctrl.Result{}, nil
}
