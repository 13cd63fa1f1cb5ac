package aggregation

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
)

// Config is what an Aggregator works with; all fields but ClientCertificate
// are needed.
type Config struct {
	// Store is of APIServices.
	Store interface {
		rest.Lister
		rest.Watcher
	}
	// REST is the server's own client.
	REST *restclient.Config
	// Definitions are those of custom resources; nil where they are not served.
	Definitions apiextensions.CustomResourceDefinitionInformer
	// Served are the built-in groups and versions.
	Served []schema.GroupVersion
	// Services finds where a service is reached.
	Services interface {
		ResolveEndpoint(namespace, name string, port int32) (*url.URL, error)
	}
	// Dial reaches that place.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ClientCertificate is shown to extension servers, which trust the user's
	// name in headers because of it: certificate and key, PEM.
	ClientCertificate func() (cert, key []byte)
	// Discovery is /apis in its aggregated form.
	Discovery  aggregated.ResourceManager
	Serializer runtime.NegotiatedSerializer
}

// Aggregator sends requests to extension servers.
type Aggregator struct {
	config Config
	client clientset.Interface
	served map[schema.GroupVersion]bool
	dial   *transport.DialHolder                        // one value, by which transports to the same server are shared
	queue  workqueue.TypedRateLimitingInterface[string] // APIServices of custom resources
	next   http.Handler
	remote atomic.Pointer[extensions]
}

// New makes an Aggregator. Handler and Run put it to work.
func New(c Config) (*Aggregator, error) {
	client, err := clientset.NewForConfig(c.REST)
	if err != nil {
		return nil, fmt.Errorf("client of APIServices: %w", err)
	}
	a := &Aggregator{
		config: c, client: client, served: map[schema.GroupVersion]bool{}, dial: &transport.DialHolder{Dial: c.Dial},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, time.Minute)),
	}
	for _, gv := range c.Served {
		a.served[gv] = true
	}
	return a, nil
}

// Handler sends requests for what extension servers serve there, and all
// others to next.
func (a *Aggregator) Handler(next http.Handler) http.Handler {
	a.next = next
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if remote := a.remote.Load(); remote != nil {
			if h := remote.find(r.URL.Path); h != nil {
				h.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Paths are those of the groups and versions of extension servers.
func (a *Aggregator) Paths() []string {
	if remote := a.remote.Load(); remote != nil {
		return remote.paths()
	}
	return nil
}

// Run follows APIServices and definitions until ctx ends.
func (a *Aggregator) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	defer a.queue.ShutDown()
	if a.config.Definitions != nil {
		h, err := a.config.Definitions.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    a.enqueue,
			UpdateFunc: func(old, obj any) { a.enqueue(old); a.enqueue(obj) },
			DeleteFunc: a.enqueue,
		})
		if err != nil {
			return fmt.Errorf("follow definitions: %w", err)
		}
		defer func() { _ = a.config.Definitions.Informer().RemoveEventHandler(h) }()
		group.Go(func() { a.work(ctx) })
	}
	context.AfterFunc(ctx, a.queue.ShutDown)
	for ctx.Err() == nil {
		err := a.follow(ctx, func(s *apiregistrationv1.APIService) {
			if s.Spec.Service != nil && a.remote.Load() == nil {
				a.begin(ctx, &group)
			}
		})
		if err != nil {
			klog.FromContext(ctx).V(1).Info("Watch of APIServices begins again", "reason", err)
		}
		// The watch cache is filling, or has lost its own watch.
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// enqueue names the APIServices of a definition.
func (a *Aggregator) enqueue(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if d, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		for _, v := range d.Spec.Versions {
			a.queue.Add(v.Name + "." + d.Spec.Group)
		}
	}
}

// work keeps the APIServices of custom resources.
func (a *Aggregator) work(ctx context.Context) {
	for {
		name, end := a.queue.Get()
		if end {
			return
		}
		if err := a.register(ctx, name); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Failed to register a group of custom resources", "APIService", name)
			a.queue.AddRateLimited(name)
		} else {
			a.queue.Forget(name)
		}
		a.queue.Done(name)
	}
}

// follow tells about each APIService that there is and that comes, from
// storage without a client, and has changed ones looked at again.
func (a *Aggregator) follow(ctx context.Context, seen func(*apiregistrationv1.APIService)) error {
	ctx = request.WithNamespace(ctx, metav1.NamespaceNone)
	obj, err := a.config.Store.List(ctx, &internalversion.ListOptions{})
	if err != nil {
		return err
	}
	list, ok := obj.(*apiregistrationv1.APIServiceList)
	if !ok {
		return fmt.Errorf("list of APIServices is a %T", obj)
	}
	for i := range list.Items {
		if err := a.sweep(ctx, &list.Items[i]); err != nil {
			return err
		}
		a.queue.Add(list.Items[i].Name)
		seen(&list.Items[i])
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	w, err := a.config.Store.Watch(ctx, &internalversion.ListOptions{ResourceVersion: m.GetResourceVersion()})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		obj := e.Object
		if c, ok := obj.(runtime.CacheableObject); ok {
			obj = c.GetObject() // what watchers share to be encoded once
		}
		s, ok := obj.(*apiregistrationv1.APIService)
		if !ok {
			continue
		}
		a.queue.Add(s.Name)
		if e.Type != watch.Deleted {
			seen(s)
		}
	}
	return nil
}
