package replicaset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/ownership"
)

const (
	// burst is the most pods that one turn creates or deletes, upstream's
	// number. What is left is done in the next turn.
	burst = 500

	// parallel is the most requests in flight. A server on two cores answers
	// some thousands a second, each within a few milliseconds: more would only
	// wait there.
	parallel = 64
)

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
		s.failure = e.deletePods(ctx, s, planDelete(s.active, min(s.diff, burst), doubled, e.Clock.Now()))
	}
	return ctrl.Result{}, s.failure
}

// createPods creates count pods in batches that double as long as all goes
// well, so that a set whose pods are all refused costs a request or two and
// not hundreds.
func (e *Engine[T]) createPods(ctx context.Context, s *scope[T], count int) error {
	template := newPod(s.set, e.ownerRef(s))
	key := client.ObjectKeyFromObject(s.object)
	for _, size := range planBatches(count) {
		err := inParallel(size, func(int) error {
			pod := template.DeepCopy()
			err := e.Client.Create(ctx, pod)
			switch {
			case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
				return errStop
			case err != nil:
				e.Events.Eventf(s.object, nil, corev1.EventTypeWarning, "FailedCreate", "Create", "Error creating: %v", err)
				return fmt.Errorf("create pod: %w", err)
			}
			e.writes.Wrote(key, pod)
			e.Events.Eventf(s.object, pod, corev1.EventTypeNormal, "SuccessfulCreate", "Create", "Created pod: %v", pod.Name)
			return nil
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errStop ends the batches without a failure: in a namespace that is being
// deleted no pod can be created, and soon there will be no set to want one.
var errStop = errors.New("namespace is terminating")

// deletePods deletes pods, all at once.
func (e *Engine[T]) deletePods(ctx context.Context, s *scope[T], pods []*corev1.Pod) error {
	key := client.ObjectKeyFromObject(s.object)
	return inParallel(len(pods), func(i int) error {
		pod := pods[i]
		err := e.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			e.Events.Eventf(s.object, pod, corev1.EventTypeWarning, "FailedDelete", "Delete", "Error deleting: %v", err)
			return fmt.Errorf("delete pod %s: %w", pod.Name, err)
		}
		e.writes.Deleted(key, pod)
		e.Events.Eventf(s.object, pod, corev1.EventTypeNormal, "SuccessfulDelete", "Delete", "Deleted pod: %v", pod.Name)
		return nil
	})
}

// inParallel calls do for 0 … count-1 and returns the first error.
func inParallel(count int, do func(int) error) error {
	if count == 1 {
		return do(0)
	}
	var (
		wg     sync.WaitGroup
		once   sync.Once
		first  error
		places = make(chan struct{}, parallel)
	)
	for i := range count {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := do(i); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	wg.Wait()
	return first
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
		var pods corev1.PodList
		if err := ownership.List(ctx, e.Client, &pods, s.set.Namespace, sibling.GetUID()); err != nil {
			return nil, err
		}
		active, _ := sortOut(podsOf(&pods))
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

// planBatches splits count into batches of 1, 2, 4, 8 …
func planBatches(count int) []int {
	var batches []int
	for size := 1; count > 0; size *= 2 {
		size = min(size, count)
		batches = append(batches, size)
		count -= size
	}
	return batches
}

// newPod returns the pod that a set's template asks for; the server names it.
func newPod(set *appsv1.ReplicaSet, owner metav1.OwnerReference) *corev1.Pod {
	template := set.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			GenerateName:    set.Name + "-",
			Labels:          maps.Clone(template.Labels),
			Annotations:     maps.Clone(template.Annotations),
			Finalizers:      slices.Clone(template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: template.Spec,
	}
}

// replicas returns how many pods a set asks for; the server's default is 1.
func replicas(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}
