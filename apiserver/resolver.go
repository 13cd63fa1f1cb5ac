package apiserver

import (
	"context"
	"errors"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	listers "k8s.io/client-go/listers/core/v1"
)

// resolver finds services that webhooks stand behind: by cluster IP, as
// kube-apiserver does without --enable-aggregator-routing.
type resolver struct{ objects objects }

// ResolveEndpoint implements webhook.ServiceResolver.
func (r resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return proxy.ResolveCluster(stored(r), namespace, name, port)
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
