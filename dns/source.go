package dns

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// watch starts the watches and returns true when all that exists has reached
// the zone, false when ctx ended before.
func (s *Server) watch(ctx context.Context, running *sync.WaitGroup) bool {
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(trim))
	sources := []cache.SharedIndexInformer{
		factory.Core().V1().Namespaces().Informer(),
		factory.Core().V1().Services().Informer(),
		factory.Discovery().V1().EndpointSlices().Informer(),
	}
	var synced []cache.DoneChecker
	for _, source := range sources {
		handle, err := source.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    s.set,
			UpdateFunc: s.replace,
			DeleteFunc: s.remove,
		})
		if err != nil {
			return false // only after a stop
		}
		synced = append(synced, handle.HasSyncedChecker())
	}
	for _, source := range sources {
		running.Go(func() { source.RunWithContext(ctx) })
	}
	return cache.WaitFor(ctx, "namespaces, services and endpoint slices", synced...)
}

func (s *Server) set(o any) {
	switch o := o.(type) {
	case *corev1.Namespace:
		s.zone.SetNamespace(o.Name)
	case *corev1.Service:
		s.zone.SetService(o)
	case *discoveryv1.EndpointSlice:
		s.zone.SetSlice(o)
	}
}

func (s *Server) replace(old, o any) {
	if was, ok := old.(*discoveryv1.EndpointSlice); ok {
		is, ok := o.(*discoveryv1.EndpointSlice)
		if !ok || was.Labels[discoveryv1.LabelServiceName] != is.Labels[discoveryv1.LabelServiceName] {
			s.zone.DeleteSlice(was)
		}
	}
	s.set(o)
}

func (s *Server) remove(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	switch o := o.(type) {
	case *corev1.Namespace:
		s.zone.DeleteNamespace(o.Name)
	case *corev1.Service:
		s.zone.DeleteService(o.Namespace, o.Name)
	case *discoveryv1.EndpointSlice:
		s.zone.DeleteSlice(o)
	}
}

// trim drops what no answer depends on, since caches of large clusters keep it in memory.
func trim(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil {
		a.SetManagedFields(nil)
		a.SetAnnotations(nil)
	}
	return o, nil
}
