package podctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/internal/consistency"
)

// parallel is the most requests in flight. A server on two cores answers some
// thousands a second, each within a few milliseconds: more would only wait
// there.
const parallel = 64

// Control creates and deletes pods on behalf of their owners.
type Control struct {
	Client client.Client
	Events events.EventRecorder

	// Writes is told of every pod that is written, under its owner's name.
	Writes *consistency.Tracker
}

// New returns the pod that a template asks for. The caller names it: by Name,
// or by GenerateName, which is the owner's name and a dash here.
func New(owner metav1.Object, ref metav1.OwnerReference, template *corev1.PodTemplateSpec) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			GenerateName:    owner.GetName() + "-",
			Labels:          maps.Clone(template.Labels),
			Annotations:     maps.Clone(template.Annotations),
			Finalizers:      slices.Clone(template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{ref},
		},
		Spec: *template.Spec.DeepCopy(),
	}
}

// errStop ends the batches without a failure: in a namespace that is being
// deleted no pod can be created, and soon there will be no owner to want one.
var errStop = errors.New("namespace is terminating")

// Create creates pods in batches that double as long as all goes well, so that
// pods that are all refused cost a request or two and not hundreds. It returns
// how many were created, and the first error.
func (c Control) Create(ctx context.Context, owner client.Object, pods []*corev1.Pod) (created int, err error) {
	var count atomic.Int32
	for _, size := range Batches(len(pods)) {
		batch := pods[:size]
		pods = pods[size:]
		err := InParallel(size, func(i int) error {
			err := c.create(ctx, owner, batch[i])
			if err == nil {
				count.Add(1)
			}
			return err
		})
		if errors.Is(err, errStop) {
			return int(count.Load()), nil
		}
		if err != nil {
			return int(count.Load()), err
		}
	}
	return int(count.Load()), nil
}

func (c Control) create(ctx context.Context, owner client.Object, pod *corev1.Pod) error {
	err := c.Client.Create(ctx, pod)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errStop
	case err != nil:
		c.Events.Eventf(owner, nil, corev1.EventTypeWarning, "FailedCreate", "Create", "Error creating: %v", err)
		return fmt.Errorf("create pod: %w", err)
	}
	c.Writes.Wrote(client.ObjectKeyFromObject(owner), pod)
	c.Events.Eventf(owner, pod, corev1.EventTypeNormal, "SuccessfulCreate", "Create", "Created pod: %v", pod.Name)
	return nil
}

// Delete deletes pods, all at once, and returns the first error. A pod that is
// gone already is as good as deleted.
func (c Control) Delete(ctx context.Context, owner client.Object, pods []*corev1.Pod) error {
	return InParallel(len(pods), func(i int) error {
		pod := pods[i]
		err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			c.Events.Eventf(owner, pod, corev1.EventTypeWarning, "FailedDelete", "Delete", "Error deleting: %v", err)
			return fmt.Errorf("delete pod %s: %w", pod.Name, err)
		}
		c.Writes.Deleted(client.ObjectKeyFromObject(owner), pod)
		c.Events.Eventf(owner, pod, corev1.EventTypeNormal, "SuccessfulDelete", "Delete", "Deleted pod: %v", pod.Name)
		return nil
	})
}

// InParallel calls do for 0 … count-1 and returns the first error.
func InParallel(count int, do func(int) error) error {
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

// Batches splits count into batches of 1, 2, 4, 8 …
func Batches(count int) []int {
	var batches []int
	for size := 1; count > 0; size *= 2 {
		size = min(size, count)
		batches = append(batches, size)
		count -= size
	}
	return batches
}
