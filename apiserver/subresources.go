package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/apiserver/accounts"
	"github.com/skiffcluster/skiff/apiserver/auth"
	"github.com/skiffcluster/skiff/apiserver/certificates"
	"github.com/skiffcluster/skiff/apiserver/components"
	"github.com/skiffcluster/skiff/apiserver/namespaces"
	"github.com/skiffcluster/skiff/apiserver/pods"
	"github.com/skiffcluster/skiff/apiserver/reviews"
	"github.com/skiffcluster/skiff/apiserver/services"
)

// addSubresources adds what only one kind has.
func (s *Server) addSubresources() error {
	core := func(resource string) map[string]rest.Storage {
		return s.resources[schema.GroupResource{Resource: resource}].Storage
	}
	agents, err := s.agentTransport()
	if err != nil {
		return err
	}
	deps := pods.Deps{
		Pods: s.storeOf("", "pods"), Budgets: s.storeOf(policyv1.GroupName, "poddisruptionbudgets"), Node: objects{s}.Node, Agents: agents, Dial: s.config.DialNode, Authorizer: s.authorizer,
	}
	for path, storage := range pods.New(deps) {
		core("pods")[path] = storage
	}
	ns := s.resources[schema.GroupResource{Resource: "namespaces"}]
	namespaces.Prepare(ns)
	ns.Storage["namespaces/finalize"] = namespaces.New(ns.Store)
	certificates.Prepare(s.resources[schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}])
	core("serviceaccounts")["serviceaccounts/token"] = &accounts.Token{Tokens: s.tokens, Objects: objects{s}}
	escalation := auth.Escalation{Rules: s.rbac, Authorizer: s.authorizer}
	for _, resource := range []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
		escalation.Attach(s.storeOf(rbacv1.GroupName, resource))
	}
	s.addServices(deps)
	return nil
}

// openRanges opens what services get addresses and ports from. It comes before
// all that can't be closed without having run.
func (s *Server) openRanges() error {
	s.cidrs = services.CIDRs{
		Store: func() *genericregistry.Store { return s.storeOf(networkingv1.GroupName, "servicecidrs") },
		Status: func() *genericregistry.Store {
			return s.resources[schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}].Stores()[1]
		},
	}
	claims := services.IPAddresses{Store: func() *genericregistry.Store { return s.storeOf(networkingv1.GroupName, "ipaddresses") }}
	var ranges []*services.Addresses
	for cidr := range strings.SplitSeq(s.config.ServiceClusterIPRange, ",") {
		addresses, err := services.NewAddresses(cidr, claims)
		if err != nil {
			return err
		}
		addresses.Further = s.cidrs.Ready
		ranges = append(ranges, addresses)
	}
	ports, err := services.NewPorts(s.config.ServiceNodePortRange, s.store.Claims("servicenodeports"))
	if err != nil {
		return err
	}
	s.allocator = &services.Allocator{Addresses: ranges, Ports: ports}
	return nil
}

func (s *Server) addServices(deps pods.Deps) {
	r := s.resources[schema.GroupResource{Resource: "services"}]
	s.allocator.Attach(r.Store, r.Stores()[1:]...)
	services.IPAddresses{Store: func() *genericregistry.Store { return s.storeOf(networkingv1.GroupName, "ipaddresses") }}.Keep(r.Store)
	r.Storage["services/proxy"] = &services.Proxy{
		Services: r.Store, Slices: s.slicesOf, Split: pods.Target, Methods: pods.Methods,
		Forward: func(to *url.URL, path string, responder rest.Responder) http.Handler {
			return pods.Forward(to, path, deps.Direct(), responder)
		},
	}
}

// slicesOf asks the watch cache for a service's endpoint slices.
func (s *Server) slicesOf(ctx context.Context, namespace, service string) ([]discoveryv1.EndpointSlice, error) {
	obj, err := s.storeOf(discoveryv1.GroupName, "endpointslices").List(request.WithNamespace(ctx, namespace), &internalversion.ListOptions{
		ResourceVersion: "0", LabelSelector: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}),
	})
	if err != nil {
		return nil, err
	}
	list, ok := obj.(*discoveryv1.EndpointSliceList)
	if !ok {
		return nil, fmt.Errorf("list of endpoint slices is a %T", obj)
	}
	return list.Items, nil
}

// repairServices makes claims of addresses and ports fit the services.
func (s *Server) repairServices(ctx context.Context) error {
	store := s.storeOf("", "services")
	if err := wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) {
		return store.ReadinessCheck() == nil, nil
	}); err != nil {
		return err
	}
	obj, err := store.List(request.WithNamespace(ctx, metav1.NamespaceAll), &internalversion.ListOptions{})
	if err != nil {
		return err
	}
	list, ok := obj.(*corev1.ServiceList)
	if !ok {
		return fmt.Errorf("list of services is a %T", obj)
	}
	if err := s.cidrs.EnsureDefault(ctx, s.allocator.Addresses); err != nil {
		return err
	}
	return s.allocator.Repair(ctx, list.Items)
}

// agentTransport reaches node agents: each side shows a certificate of the
// cluster's CA.
func (s *Server) agentTransport() (http.RoundTripper, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	pem, err := s.kubeletCA()
	if err != nil {
		return nil, err
	}
	if len(pem) > 0 && !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("kubelet CA holds no certificate")
	}
	if cfg.GetClientCertificate, err = s.kubeletClientCertificate(); err != nil {
		return nil, err
	}
	// HTTP/1.1: streams take over the connection.
	return &http.Transport{
		DialContext: s.config.DialNode, TLSClientConfig: cfg, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
	}, nil
}

// kubeletCA signs the certificates of node agents.
func (s *Server) kubeletCA() ([]byte, error) {
	if s.config.KubeletCAFile == "" {
		return s.config.KubeletCAPEM, nil
	}
	pem, err := os.ReadFile(s.config.KubeletCAFile)
	if err != nil {
		return nil, fmt.Errorf("--kubelet-certificate-authority: %w", err)
	}
	return pem, nil
}

// kubeletClientCertificate is shown to node agents.
func (s *Server) kubeletClientCertificate() (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	cert, key := s.config.KubeletClientCertFile, s.config.KubeletClientKeyFile
	if cert == "" && key == "" {
		return s.config.KubeletClientCertificate, nil
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("--kubelet-client-certificate, --kubelet-client-key: %w", err)
	}
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}, nil
}

// reviews are the kinds that are answered and not stored.
func (s *Server) reviews() map[schema.GroupVersion]map[string]rest.Storage {
	unstored := reviews.New(reviews.Deps{
		Tokens: s.authenticator.Token, Audiences: s.audiences, Authorizer: s.authorizer, Rules: s.authorizer,
	})
	unstored[corev1.SchemeGroupVersion] = map[string]rest.Storage{"componentstatuses": &components.Status{
		Etcd: s.store.Check,
		Lease: func(ctx context.Context, name string) (*coordinationv1.Lease, error) {
			return read[coordinationv1.Lease](ctx, s.storeOf(coordinationv1.GroupName, "leases"), metav1.NamespaceSystem, name)
		},
	}}
	return unstored
}
