package pods

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/api/core"
)

// evictionTries bounds how often an eviction begins anew because the pod
// changed meanwhile (upstream's number).
const evictionTries = 20

// eviction deletes a pod unless a disruption budget forbids it.
type eviction struct{ Deps }

func (e *eviction) New() runtime.Object { return &policyv1.Eviction{} }
func (e *eviction) Destroy()            {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (e *eviction) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// Create implements rest.NamedCreater.
func (e *eviction) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, create *metav1.CreateOptions) (runtime.Object, error) {
	ev, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	if name != ev.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if errs := core.ValidateEviction(ev); len(errs) > 0 {
		return nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("DeleteOptions").GroupKind(), "", errs)
	}
	o, err := evictionOptions(ev, create)
	if err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, ev.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		err = e.evict(ctx, name, o)
		if !errors.Is(err, errChanged) {
			break
		}
		if try == evictionTries {
			return nil, apierrors.NewTimeoutError(fmt.Sprintf("couldn't evict pod %q due to conflicts", name), 10)
		}
	}
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

// errChanged says that what was decided is about a pod as it no longer is.
var errChanged = errors.New("pod has changed since it was looked at")

// evict is one try.
func (e *eviction) evict(ctx context.Context, name string, asked *metav1.DeleteOptions) error {
	pod, err := e.pod(ctx, name)
	if err != nil {
		return err
	}
	pinned, budget := disposable(pod), ""
	if !pinned {
		if pinned, budget, err = e.charge(ctx, pod, len(asked.DryRun) > 0); err != nil {
			return err
		}
	}
	o := asked.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	if o.Preconditions.UID == nil {
		o.Preconditions.UID = &pod.UID
	}
	// A pod that no budget counts must not have become one that counts.
	ours := pinned && o.Preconditions.ResourceVersion == nil && *o.Preconditions.UID == pod.UID
	if ours {
		o.Preconditions.ResourceVersion = &pod.ResourceVersion
	}
	err = e.remove(ctx, name, o)
	switch {
	case !ours || !apierrors.IsConflict(err):
		return err
	case budget != "":
		return stillProcessed(budget)
	}
	return errChanged
}

// remove marks the pod with why it goes, and deletes it.
func (e *eviction) remove(ctx context.Context, name string, o *metav1.DeleteOptions) error {
	if len(o.DryRun) == 0 {
		store := *e.Pods
		store.UpdateStrategy = asGiven{e.Pods.UpdateStrategy}
		marked, _, err := store.Update(ctx, name, &markUpdate{o.Preconditions}, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		if pod, ok := marked.(*corev1.Pod); ok && o.Preconditions.ResourceVersion != nil {
			o.Preconditions.ResourceVersion = &pod.ResourceVersion
		}
	}
	_, _, err := e.Pods.Delete(ctx, name, rest.ValidateAllObjectFunc, o)
	return err
}

// markUpdate sets a pod's condition DisruptionTarget.
type markUpdate struct{ pre *metav1.Preconditions }

func (u *markUpdate) Preconditions() *metav1.Preconditions { return u.pre }

func (u *markUpdate) UpdatedObject(_ context.Context, old runtime.Object) (runtime.Object, error) {
	stored, ok := old.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("expect a pod, got %T", old)
	}
	pod := stored.DeepCopy()
	c := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
		Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.Now(),
	}
	for i := range pod.Status.Conditions {
		if had := pod.Status.Conditions[i]; had.Type == c.Type && had.Status == c.Status {
			c.LastTransitionTime = had.LastTransitionTime
		}
	}
	setCondition(pod, c)
	return pod, nil
}

// evictionOptions are those of the deletion. A dry run may be asked for by the
// request or by the eviction, and by both only in the same way.
func evictionOptions(ev *policyv1.Eviction, create *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	if ev.DeleteOptions != nil {
		o = ev.DeleteOptions.DeepCopy()
	}
	asked := dryRun(create)
	switch {
	case len(o.DryRun) == 0:
		o.DryRun = asked
	case len(asked) > 0 && !slices.Equal(o.DryRun, asked):
		return nil, apierrors.NewBadRequest("Non-matching dry-run options in request and content: " +
			fmt.Sprintf("%v and %v", asked, o.DryRun))
	}
	return o, nil
}

// disposable pods can be evicted whatever the budgets: they serve nobody.
func disposable(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded ||
		p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodPending
}
