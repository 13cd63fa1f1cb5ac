package podsource

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Handler takes the pods, one call at a time. Objects are shared: they must not
// be changed.
type Handler interface {
	// Update is called for every pod of the node, new or changed.
	Update(pod *corev1.Pod)
	// Delete is called for a pod that is gone from the API or from the node.
	Delete(pod *corev1.Pod)
	// Synced is called once, after the pods that were there at the beginning.
	Synced()
}

// Source gives the pods of one node until ctx ends.
type Source interface {
	Run(ctx context.Context, h Handler) error
}

// API is a Source that watches the API server.
type API struct {
	pods     corev1client.PodsGetter
	nodeName string
}

// NewAPI makes a source of the pods bound to a node.
func NewAPI(pods corev1client.PodsGetter, nodeName string) *API {
	return &API{pods: pods, nodeName: nodeName}
}

// Run implements Source.
func (a *API) Run(ctx context.Context, h Handler) error {
	onNode := fields.OneTermEqualSelector("spec.nodeName", a.nodeName).String()
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = onNode
				return a.pods.Pods(metav1.NamespaceAll).List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = onNode
				return a.pods.Pods(metav1.NamespaceAll).Watch(ctx, o)
			},
		},
		ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { h.Update(obj.(*corev1.Pod)) },
			UpdateFunc: func(_, obj any) { h.Update(obj.(*corev1.Pod)) },
			DeleteFunc: func(obj any) {
				if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = gone.Obj
				}
				if pod, ok := obj.(*corev1.Pod); ok {
					h.Delete(pod)
				}
			},
		},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	defer func() { <-done }()
	for !informer.HasSynced() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Millisecond):
		}
	}
	h.Synced()
	<-done
	if ctx.Err() == nil {
		return fmt.Errorf("watch pods of node %s: the watch ended", a.nodeName)
	}
	return nil
}
