package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
)

// burst is the most pods that one turn creates or deletes, upstream's
// number. What is left is done in the next turn.
const burst = 500

// scale creates or deletes pods until there are spec.replicas active ones.
func (e *Engine[T]) scale(ctx context.Context, s *scope[T]) (ctrl.Result, error) {
	if s.set.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	s.diff = len(s.active) - int(replicas(s.set))
	switch {
	case s.diff < 0:
		s.failure = e.createPods(ctx, s, min(-s.diff, burst))
	case s.diff > 0:
		doubled, err := e.podsPerNode(ctx, s)
		if err != nil {
			return ctrl.Result{}, err
		}
		s.failure = e.pods().Delete(ctx, s.object, planDelete(s.active, min(s.diff, burst), doubled, e.Clock.Now()))
	}
	return ctrl.Result{}, s.failure
}

// createPods creates count pods of the set's template; the server names them.
func (e *Engine[T]) createPods(ctx context.Context, s *scope[T], count int) error {
	pods := make([]*corev1.Pod, count)
	for i := range pods {
		pods[i] = podctl.New(s.set, e.ownerRef(s), &s.set.Spec.Template)
	}
	_, err := e.pods().Create(ctx, s.object, pods)
	return err
}

func (e *Engine[T]) pods() podctl.Control {
	return podctl.Control{Client: e.Client, Events: e.Events, Writes: e.writes}
}

// podsPerNode counts, for each node, the active pods of every set that has the
// same controller as this one: the revisions of one Deployment count together.
func (e *Engine[T]) podsPerNode(ctx context.Context, s *scope[T]) (map[string]int, error) {
	counts := countByNode(s.active)
	owner := metav1.GetControllerOfNoCopy(s.set)
	if owner == nil {
		return counts, nil
	}
	siblings := e.Kind.NewList()
	if err := ownership.List(ctx, e.Client, siblings, s.set.Namespace, owner.UID); err != nil {
		return nil, err
	}
	for _, sibling := range e.Kind.Items(siblings) {
		if sibling.GetUID() == s.set.UID {
			continue
		}
		pods, err := e.children.Of(s.set.Namespace, sibling.GetUID())
		if err != nil {
			return nil, err
		}
		active, _ := sortOut(pods)
		for node, count := range countByNode(active) {
			counts[node] += count
		}
	}
	return counts, nil
}

func countByNode(pods []*corev1.Pod) map[string]int {
	counts := map[string]int{}
	for _, pod := range pods {
		counts[pod.Spec.NodeName]++
	}
	return counts
}

// replicas returns how many pods a set asks for; the server's default is 1.
func replicas(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}
