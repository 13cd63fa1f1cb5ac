package services

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Proxy is the storage of services/proxy: requests are passed on to one of
// the service's ready endpoints.
type Proxy struct {
	Services *genericregistry.Store
	// Slices gives the endpoint slices of a service.
	Slices func(ctx context.Context, namespace, service string) ([]discoveryv1.EndpointSlice, error)
	// Split reads "[scheme:]name[:port]"; Forward passes a request on.
	Split   func(id string) (scheme, name, port string, ok bool)
	Forward func(to *url.URL, path string, responder rest.Responder) http.Handler
	Methods []string
}

var _ rest.Connecter = &Proxy{}

// New implements rest.Storage.
func (p *Proxy) New() runtime.Object { return &corev1.ServiceProxyOptions{} }

// Destroy implements rest.Storage.
func (p *Proxy) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (p *Proxy) ConnectMethods() []string { return p.Methods }

// NewConnectOptions implements rest.Connecter.
func (p *Proxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.ServiceProxyOptions{}, true, "path"
}

// Connect implements rest.Connecter.
func (p *Proxy) Connect(ctx context.Context, id string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	scheme, name, port, ok := p.Split(id)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	obj, err := p.Services.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	svc := obj.(*corev1.Service)
	servicePort, err := findPort(svc, port)
	if err != nil {
		return nil, err
	}
	slices, err := p.Slices(ctx, svc.Namespace, svc.Name)
	if err != nil {
		return nil, err
	}
	host := pick(slices, servicePort.Name)
	if host == "" {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", id))
	}
	return p.Forward(&url.URL{Scheme: scheme, Host: host}, o.(*corev1.ServiceProxyOptions).Path, responder), nil
}

// findPort is the port that a request names by name or number; the only one
// need not be named.
func findPort(s *corev1.Service, asked string) (*corev1.ServicePort, error) {
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if asked == "" && len(s.Spec.Ports) == 1 || asked != "" && (p.Name == asked || strconv.Itoa(int(p.Port)) == asked) {
			return p, nil
		}
	}
	if asked == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("service %q has several ports: name one", s.Name))
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", asked, s.Name))
}

// pick chooses any ready endpoint of a port.
func pick(slices []discoveryv1.EndpointSlice, port string) string {
	var hosts []string
	for _, s := range slices {
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
				continue
			}
			for _, e := range s.Endpoints {
				if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
					hosts = append(hosts, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(hosts) == 0 {
		return ""
	}
	return hosts[rand.IntN(len(hosts))] //nolint:gosec // any will do
}
