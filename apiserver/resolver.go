package apiserver

import (
	"context"
	"errors"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	listers "k8s.io/client-go/listers/core/v1"
)

// resolver finds services that webhooks and extension servers stand behind: an
// endpoint, as kube-apiserver does with --enable-aggregator-routing, since the
// machine of the API server need not have a proxier. Services without one are
// tried by their cluster IP.
type resolver struct{ objects objects }

// services finds them as the server is configured to.
func (s *Server) services() webhook.ServiceResolver {
	if s.config.NoAggregatorRouting {
		return byAddress{objects{s}}
	}
	return resolver{objects{s}}
}

// byAddress finds services by their cluster IPs.
type byAddress struct{ objects objects }

// ResolveEndpoint implements webhook.ServiceResolver.
func (b byAddress) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return proxy.ResolveCluster(stored(b), namespace, name, port)
}

// ResolveEndpoint implements webhook.ServiceResolver.
func (r resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if u, err := proxy.ResolveEndpoint(stored(r), r, namespace, name, port); err == nil {
		return u, nil
	}
	return proxy.ResolveCluster(stored(r), namespace, name, port)
}

// GetEndpointSlices implements proxy.EndpointSliceGetter.
func (r resolver) GetEndpointSlices(namespace, name string) ([]*discoveryv1.EndpointSlice, error) {
	return r.objects.EndpointSlices(context.Background(), namespace, name)
}

// stored lists services from the watch cache.
type stored struct{ objects objects }

var errUnlisted = errors.New("services are looked up by name only")

func (s stored) List(labels.Selector) ([]*corev1.Service, error) { return nil, errUnlisted }

func (s stored) Services(namespace string) listers.ServiceNamespaceLister {
	return storedIn{s.objects, namespace}
}

type storedIn struct {
	objects   objects
	namespace string
}

func (s storedIn) List(labels.Selector) ([]*corev1.Service, error) { return nil, errUnlisted }

func (s storedIn) Get(name string) (*corev1.Service, error) {
	return s.objects.Service(context.Background(), s.namespace, name)
}
