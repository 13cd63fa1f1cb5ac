package proxier

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/proxier/model"
)

// What other proxies serve and what has no cluster IP does not come over the wire.
const (
	notOurs  = "service.kubernetes.io/service-proxy-name"
	headless = "service.kubernetes.io/headless"
)

// watch starts the watches and returns true when all that exists has reached
// the tracker, false when ctx ended before.
func (p *Proxier) watch(ctx context.Context, running *sync.WaitGroup) bool {
	objects := informers.NewSharedInformerFactoryWithOptions(p.client, 0,
		informers.WithTransform(trim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "!" + notOurs + ",!" + headless }))
	nodes := informers.NewSharedInformerFactoryWithOptions(p.client, 0,
		informers.WithTransform(trim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", p.cfg.NodeName).String()
		}))
	sources := []cache.SharedIndexInformer{
		objects.Core().V1().Services().Informer(),
		objects.Discovery().V1().EndpointSlices().Informer(),
		nodes.Core().V1().Nodes().Informer(),
	}
	var synced []cache.DoneChecker
	for _, s := range sources {
		handle, err := s.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { p.observe(nil, o) },
			UpdateFunc: func(old, o any) { p.observe(old, o) },
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				p.observe(o, nil)
			},
		})
		if err != nil {
			return false // only after a stop
		}
		synced = append(synced, handle.HasSyncedChecker())
	}
	for _, s := range sources {
		running.Go(func() { s.RunWithContext(ctx) })
	}
	return cache.WaitFor(ctx, "services, endpoint slices and the node", synced...)
}

// observe takes over one change; old is nil for what is new, now for what is gone.
func (p *Proxier) observe(old, now any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch old := old.(type) {
	case *corev1.Service:
		if now == nil {
			p.tracker.DeleteService(old.Namespace, old.Name)
		}
	case *discoveryv1.EndpointSlice:
		next, _ := now.(*discoveryv1.EndpointSlice)
		if next == nil || next.Labels[discoveryv1.LabelServiceName] != old.Labels[discoveryv1.LabelServiceName] {
			p.tracker.DeleteSlice(old)
		}
	}
	switch now := now.(type) {
	case *corev1.Service:
		p.tracker.SetService(now)
	case *discoveryv1.EndpointSlice:
		p.tracker.SetSlice(now)
	case *corev1.Node:
		p.tracker.SetNode(model.Node{Name: p.cfg.NodeName, Zone: now.Labels[corev1.LabelTopologyZone], Addresses: addressesOf(now)})
		p.health.eligible = eligible(now)
		_, p.excluded = now.Labels[corev1.LabelNodeExcludeBalancers]
	}
	p.metrics.observed(old, now, time.Now())
	if p.tracker.Dirty() {
		if p.health.pending.IsZero() {
			p.health.pending = time.Now()
		}
		signal(p.wake)
	}
}

func addressesOf(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, in := range n.Status.Addresses {
		if a, err := netip.ParseAddr(in.Address); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// eligible is false for a node that is going: load balancers should leave it.
func eligible(n *corev1.Node) bool {
	if n.DeletionTimestamp != nil {
		return false
	}
	for _, t := range n.Spec.Taints {
		if t.Key == "ToBeDeletedByClusterAutoscaler" {
			return false
		}
	}
	return true
}

// trim drops what no decision depends on, since caches of large clusters keep it in memory.
func trim(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil {
		a.SetManagedFields(nil)
		changed, ok := a.GetAnnotations()[corev1.EndpointsLastChangeTriggerTime]
		a.SetAnnotations(nil)
		if ok {
			a.SetAnnotations(map[string]string{corev1.EndpointsLastChangeTriggerTime: changed})
		}
	}
	if n, ok := o.(*corev1.Node); ok {
		n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses}
	}
	return o, nil
}
