package aggregation

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/kube-aggregator/pkg/apiserver"
	"k8s.io/kube-aggregator/pkg/client/informers/externalversions"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
	localstatus "k8s.io/kube-aggregator/pkg/controllers/status/local"
	"k8s.io/kube-aggregator/pkg/controllers/status/metrics"
	remotestatus "k8s.io/kube-aggregator/pkg/controllers/status/remote"
)

// availability are metrics, which a process has once.
var availability = sync.OnceValues(func() (*metrics.Metrics, error) {
	m := metrics.New()
	return m, m.Register(legacyregistry.Register, legacyregistry.CustomRegister)
})

// RegisterMetrics makes the metrics of availability show.
func RegisterMetrics() error {
	_, err := availability()
	return err
}

const (
	// resync has servers checked that nothing is heard of; upstream's figure.
	resync = 5 * time.Minute
	// checkers is how many servers are checked at once.
	checkers = 5
)

// extensions are the extension servers. It implements the library's
// APIHandlerManager, whose one worker is the only writer of routes.
type extensions struct {
	aggregator *Aggregator
	lister     listers.APIServiceLister
	discovery  apiserver.DiscoveryAggregationController
	documents  *documents
	apis       http.Handler

	mu sync.RWMutex
	// routes are services by "group/version".
	routes map[string]*service
}

// begin starts all that extension servers need. It says so in the log when
// that fails: a next APIService tries again.
func (a *Aggregator) begin(ctx context.Context, group *sync.WaitGroup) {
	if err := a.start(ctx, group); err != nil {
		klog.FromContext(ctx).Error(err, "Failed to begin to serve extension servers")
	}
}

func (a *Aggregator) start(ctx context.Context, group *sync.WaitGroup) error {
	factory := externalversions.NewSharedInformerFactory(a.client, resync)
	services := factory.Apiregistration().V1().APIServices()
	own, err := kubernetes.NewForConfig(a.config.REST)
	if err != nil {
		return err
	}
	cluster := informers.NewSharedInformerFactory(own, 0)
	m, err := availability()
	if err != nil {
		return err
	}
	here, err := localstatus.New(services, a.client.ApiregistrationV1(), m)
	if err != nil {
		return err
	}
	there, err := remotestatus.New(services, cluster.Core().V1().Services(), cluster.Discovery().V1().EndpointSlices(),
		a.client.ApiregistrationV1(), a.dial, a.clientCertificate, a.config.Services, m)
	if err != nil {
		return err
	}
	r := &extensions{
		aggregator: a, lister: services.Lister(), routes: map[string]*service{},
		discovery: apiserver.NewDiscoveryManager(a.config.Discovery.WithSource(aggregated.AggregatorSource)),
	}
	if r.documents, err = newDocuments(a.next); err != nil {
		return err
	}
	r.apis = aggregated.WrapAggregatedDiscoveryToHandler(http.HandlerFunc(r.listGroups), a.config.Discovery, a.config.Discovery)
	registration := apiserver.NewAPIServiceRegistrationController(services, r)
	factory.Start(ctx.Done())
	cluster.Start(ctx.Done())
	known := make(chan struct{})
	group.Go(func() { registration.Run(ctx.Done(), known) })
	group.Go(func() { here.Run(1, ctx.Done()) })
	group.Go(func() { there.Run(checkers, ctx.Done()) })
	group.Go(func() { r.documents.run(ctx) })
	group.Go(func() {
		select {
		case <-known:
			r.discovery.Run(ctx.Done(), nil)
		case <-ctx.Done():
		}
		factory.Shutdown()
		cluster.Shutdown()
	})
	a.remote.Store(r)
	return nil
}

func key(group, version string) string { return group + "/" + version }

// AddAPIService implements apiserver.APIHandlerManager.
func (r *extensions) AddAPIService(s *apiregistrationv1.APIService) error {
	if s.Spec.Service == nil {
		r.RemoveAPIService(s.Name)
		return nil
	}
	sv := r.aggregator.service(s)
	r.mu.Lock()
	old := r.routes[key(s.Spec.Group, s.Spec.Version)]
	r.routes[key(s.Spec.Group, s.Spec.Version)] = sv
	r.mu.Unlock()
	checked := sv.checked()
	r.documents.set(s, checked, old != nil)
	r.discovery.AddAPIService(s, checked)
	return nil
}

// RemoveAPIService implements apiserver.APIHandlerManager.
func (r *extensions) RemoveAPIService(name string) {
	gv := helper.APIServiceNameToGroupVersion(name)
	r.mu.Lock()
	_, was := r.routes[key(gv.Group, gv.Version)]
	delete(r.routes, key(gv.Group, gv.Version))
	r.mu.Unlock()
	if was {
		r.discovery.RemoveAPIService(name)
		r.documents.remove(name)
	}
}

// paths are those of the groups and versions of extension servers.
func (r *extensions) paths() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []string
	for gv := range r.routes {
		out = append(out, "/apis/"+gv)
	}
	return out
}

// find is who answers a path; nil is the API server itself.
func (r *extensions) find(path string) http.Handler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.routes) == 0 {
		return nil
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "openapi":
		return r.documents
	case parts[0] == "api" && r.routes[key("", "v1")] != nil:
		return r.routes[key("", "v1")]
	case parts[0] != "apis":
		return nil
	case len(parts) == 1:
		return r.apis
	case len(parts) == 2:
		for _, s := range r.routes {
			if s.api.Spec.Group == parts[1] {
				return http.HandlerFunc(r.describeGroup)
			}
		}
		return nil
	}
	if s := r.routes[key(parts[1], parts[2])]; s != nil {
		return s
	}
	return nil
}

// listGroups answers /apis from the APIServices, the group of APIServices
// itself first.
func (r *extensions) listGroups(w http.ResponseWriter, req *http.Request) {
	all, err := r.lister.List(labels.Everything())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	own := &apiregistrationv1.APIService{Spec: apiregistrationv1.APIServiceSpec{Group: apiregistrationv1.GroupName, Version: "v1"}}
	list := &metav1.APIGroupList{Groups: []metav1.APIGroup{describe([]*apiregistrationv1.APIService{own})}}
	for _, group := range helper.SortedByGroupAndVersion(all) {
		if group[0].Spec.Group != "" {
			list.Groups = append(list.Groups, describe(group))
		}
	}
	r.write(w, req, list)
}

// describeGroup answers /apis/<group> for one that is at least partly an
// extension server's.
func (r *extensions) describeGroup(w http.ResponseWriter, req *http.Request) {
	name := strings.Split(strings.Trim(req.URL.Path, "/"), "/")[1]
	all, err := r.lister.List(labels.Everything())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	group := slices.DeleteFunc(slices.Clone(all), func(s *apiregistrationv1.APIService) bool { return s.Spec.Group != name })
	if len(group) == 0 {
		r.aggregator.next.ServeHTTP(w, req)
		return
	}
	described := describe(helper.SortedByGroupAndVersion(group)[0])
	r.write(w, req, &described)
}

// describe lists the versions of one group in their order.
func describe(group []*apiregistrationv1.APIService) metav1.APIGroup {
	out := metav1.APIGroup{Name: group[0].Spec.Group}
	for _, s := range group {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{
			GroupVersion: schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}.String(), Version: s.Spec.Version,
		})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func (r *extensions) write(w http.ResponseWriter, req *http.Request, obj runtime.Object) {
	responsewriters.WriteObjectNegotiated(r.aggregator.config.Serializer, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{Version: "v1"},
		w, req, http.StatusOK, obj, false)
}
