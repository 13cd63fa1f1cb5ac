package dns

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
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

// watchPods lets the zone know pods, for a Corefile that asks for them. It
// returns when ctx ends.
func (s *Server) watchPods(ctx context.Context, running *sync.WaitGroup) {
	living := fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed").String()
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(trimPod),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = living }))
	source := factory.Core().V1().Pods().Informer()
	handle, err := source.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: s.set, UpdateFunc: s.replace, DeleteFunc: s.remove})
	if err != nil {
		return // only after a stop
	}
	running.Go(func() { source.RunWithContext(ctx) })
	s.podsSynced.Store(cache.WaitFor(ctx, "pods", handle.HasSyncedChecker()))
}

func (s *Server) set(o any) {
	switch o := o.(type) {
	case *corev1.Namespace:
		s.zone.SetNamespace(o.Name, o.Labels)
	case *corev1.Pod:
		s.zone.SetPod(o)
	case *corev1.Service:
		s.zone.SetService(o)
	case *discoveryv1.EndpointSlice:
		s.zone.SetSlice(o)
	}
}

func (s *Server) replace(old, o any) {
	switch was := old.(type) {
	case *discoveryv1.EndpointSlice:
		is, ok := o.(*discoveryv1.EndpointSlice)
		if !ok || was.Labels[discoveryv1.LabelServiceName] != is.Labels[discoveryv1.LabelServiceName] {
			s.zone.DeleteSlice(was)
		}
	case *corev1.Pod:
		s.zone.DeletePod(was) // its addresses may be others
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
	case *corev1.Pod:
		s.zone.DeletePod(o)
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

// trimPod keeps of a pod what names are made of.
func trimPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	kept := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
		Labels: p.Labels, DeletionTimestamp: p.DeletionTimestamp,
	}}
	kept.Status.PodIPs = p.Status.PodIPs
	return kept, nil
}
