package resourcequota

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/internal/quota"
)

// typed are the kinds of which more counts than their number; other controllers
// have most of them in the cache anyhow.
func typed(resource schema.GroupResource) client.Object {
	switch resource {
	case corev1.Resource("pods"):
		return &corev1.Pod{}
	case corev1.Resource("services"):
		return &corev1.Service{}
	case corev1.Resource("persistentvolumeclaims"):
		return &corev1.PersistentVolumeClaim{}
	case resourcev1.Resource("resourceclaims"):
		return &resourcev1.ResourceClaim{}
	}
	return nil
}

// watched are the kinds that quotas are about.
type watched struct {
	mu    sync.Mutex
	kinds map[schema.GroupResource]toolscache.SharedIndexInformer
}

// usage counts what a quota's namespace uses. With an error it holds what could
// be counted.
func (r *Reconciler) usage(ctx context.Context, q *corev1.ResourceQuota) (corev1.ResourceList, error) {
	lister := func(resource schema.GroupVersionResource) (toolscache.GenericLister, error) {
		return r.lister(ctx, resource.GroupResource())
	}
	evaluators := quota.Evaluators(lister)
	evaluators = append(evaluators, quota.Counters(apiquota.ResourceNames(q.Spec.Hard), evaluators, lister)...)
	return apiquota.CalculateUsage(q.Namespace, q.Spec.Scopes, q.Spec.Hard, generic.NewRegistry(evaluators), q.Spec.ScopeSelector)
}

// lister lists a kind from the cache, which watches it from the first time on.
func (r *Reconciler) lister(ctx context.Context, resource schema.GroupResource) (toolscache.GenericLister, error) {
	informer, err := r.watch(ctx, resource)
	if err != nil {
		return nil, err
	}
	if !informer.HasSynced() {
		return nil, fmt.Errorf("count %s: the cache has not listed them yet", resource)
	}
	return toolscache.NewGenericLister(informer.GetIndexer(), resource), nil
}

func (r *Reconciler) watch(ctx context.Context, resource schema.GroupResource) (toolscache.SharedIndexInformer, error) {
	r.watched.mu.Lock()
	defer r.watched.mu.Unlock()
	if informer := r.watched.kinds[resource]; informer != nil {
		return informer, nil
	}
	object := typed(resource)
	if object == nil {
		kind, err := r.mapper.KindFor(resource.WithVersion(""))
		if err != nil {
			return nil, fmt.Errorf("find kind of %s: %w", resource, err)
		}
		counted := &metav1.PartialObjectMetadata{}
		counted.SetGroupVersionKind(kind)
		object = counted
	}
	cached, err := r.cache.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", resource, err)
	}
	informer, ok := cached.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("watch %s: the cache has no indexer", resource)
	}
	if _, err := informer.AddEventHandler(r.changes(context.WithoutCancel(ctx))); err != nil {
		return nil, fmt.Errorf("watch %s: %w", resource, err)
	}
	if r.watched.kinds == nil {
		r.watched.kinds = map[schema.GroupResource]toolscache.SharedIndexInformer{}
	}
	r.watched.kinds[resource] = informer
	return informer, nil
}

// changes starts turns for what may change a count.
func (r *Reconciler) changes(ctx context.Context) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if object, ok := obj.(client.Object); ok && !initial {
				r.enqueue(ctx, object.GetNamespace(), settle)
			}
		},
		UpdateFunc: func(before, after any) {
			if object, ok := after.(client.Object); ok && usesOther(before, after) {
				r.enqueue(ctx, object.GetNamespace(), 0)
			}
		},
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if object, ok := obj.(client.Object); ok {
				r.enqueue(ctx, object.GetNamespace(), 0)
			}
		},
	}
}

// usesOther tells whether an object uses other amounts than before, or those of
// other quotas, which what is only counted never does.
func usesOther(before, after any) bool {
	var resource schema.GroupResource
	switch after.(type) {
	case *corev1.Pod:
		resource = corev1.Resource("pods")
	case *corev1.Service:
		resource = corev1.Resource("services")
	case *corev1.PersistentVolumeClaim:
		resource = corev1.Resource("persistentvolumeclaims")
	case *resourcev1.ResourceClaim:
		resource = resourcev1.Resource("resourceclaims")
	default:
		return false
	}
	if rescoped(before, after) {
		return true
	}
	evaluator := generic.NewRegistry(quota.Evaluators(nil)).Get(resource)
	was, errBefore := usageOf(evaluator, before)
	now, errAfter := usageOf(evaluator, after)
	return errBefore != nil || errAfter != nil || !apiequality.Semantic.DeepEqual(was, now)
}

func rescoped(before, after any) bool {
	b, was := before.(runtime.Object)
	a, is := after.(runtime.Object)
	return was && is && quota.Rescoped(b, a)
}

func usageOf(evaluator apiquota.Evaluator, obj any) (corev1.ResourceList, error) {
	object, ok := obj.(runtime.Object)
	if !ok {
		return nil, fmt.Errorf("count: got a %T", obj)
	}
	return evaluator.Usage(object)
}
