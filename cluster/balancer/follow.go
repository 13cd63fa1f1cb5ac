package balancer

import (
	"context"
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Follow keeps the servers those of the Service kubernetes until ctx ends.
// changed, unless nil, is told of them.
func (b *Balancer) Follow(ctx context.Context, k kubernetes.Interface, changed func(servers []string)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(k, 0, informers.WithNamespace(metav1.NamespaceDefault),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = discoveryv1.LabelServiceName + "=kubernetes" }))
	slicesOf := factory.Discovery().V1().EndpointSlices()
	update := func() {
		all, err := slicesOf.Lister().List(labels.Everything())
		if err != nil {
			return
		}
		servers := serversOf(all)
		b.Set(servers)
		if changed != nil && len(servers) > 0 {
			changed(servers)
		}
	}
	_, err := slicesOf.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { update() }, UpdateFunc: func(any, any) { update() }, DeleteFunc: func(any) { update() },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// serversOf are the addresses that are ready.
func serversOf(all []*discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range all {
		for _, p := range s.Ports {
			for _, e := range s.Endpoints {
				if p.Port == nil || e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
