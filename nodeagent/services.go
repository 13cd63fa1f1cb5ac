package nodeagent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// services are the cluster's, for the variables of containers.
type services struct {
	store    cache.Store
	informer cache.Controller
	synced   chan struct{}
}

func newServices(client kubernetes.Interface) *services {
	s := &services{synced: make(chan struct{})}
	all := client.CoreV1().Services(metav1.NamespaceAll)
	s.store, s.informer = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return all.Watch(ctx, o)
			},
		},
		ObjectType: &corev1.Service{},
		Handler:    cache.ResourceEventHandlerFuncs{},
	})
	return s
}

func (s *services) run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.informer.RunWithContext(ctx)
	}()
	for !s.informer.HasSynced() {
		select {
		case <-done:
			return nil
		case <-time.After(5 * time.Millisecond):
		}
	}
	close(s.synced)
	<-done
	return nil
}

// inNamespace gives a namespace's services and the API server's.
func (s *services) inNamespace(namespace string) []*corev1.Service {
	var out []*corev1.Service
	for _, obj := range s.store.List() {
		svc := obj.(*corev1.Service)
		if svc.Namespace == namespace || svc.Namespace == metav1.NamespaceDefault && svc.Name == "kubernetes" {
			out = append(out, svc)
		}
	}
	return out
}
