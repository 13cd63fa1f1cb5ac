package apiserver

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// Data is the cluster's data.
func (s *Server) Data() *etcd.Store { return s.store }

// leasesPrefix is where API servers say that they are there, as upstream's do.
func (s *Server) leasesPrefix() string { return s.store.Prefix + "/masterleases/" }

const (
	// masterTTL is how long a server that went silent stays among the endpoints
	// of the Service kubernetes, in seconds. To stay costs it one message to
	// etcd's leader for each third of that, and no write.
	masterTTL = 3
	// masterCheck is how often endpoints that others changed are put right.
	masterCheck = 10 * time.Second
)

// place is where others reach this server; "" where nobody can: a loopback
// address is none that others could reach, and the API refuses it.
func (s *Server) place() string {
	if s.config.Listener == nil || s.config.AdvertiseAddress.IsLoopback() {
		return ""
	}
	return net.JoinHostPort(s.config.AdvertiseAddress.String(), strconv.Itoa(s.port()))
}

// announce keeps this server, and all that are there, among the endpoints of
// the Service kubernetes until ctx ends. It calls announced when they are
// written.
func (s *Server) announce(ctx context.Context, announced func()) {
	if s.place() == "" {
		announced()
		return
	}
	for ctx.Err() == nil {
		if err := s.announceOnce(ctx, announced); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "API server is not announced")
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// announceOnce lasts for as long as etcd believes that the server is there.
func (s *Server) announceOnce(ctx context.Context, announced func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := s.store.Client
	lease, err := client.Grant(ctx, masterTTL)
	if err != nil {
		return err
	}
	defer func() { // a clean end: others need not wait
		revoke, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = client.Revoke(revoke, lease.ID) // it ends by itself
	}()
	if _, err := client.Put(ctx, s.leasesPrefix()+s.place(), s.place(), clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	alive, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	changes := client.Watch(ctx, s.leasesPrefix(), clientv3.WithPrefix())
	tick := time.NewTicker(masterCheck)
	defer tick.Stop()
	for {
		if err := s.writeEndpoints(ctx); err != nil {
			return err
		}
		announced()
		for wait := true; wait; {
			select {
			case _, ok := <-alive:
				if !ok {
					return nil // the server was thought dead: it comes again
				}
			case _, ok := <-changes:
				if !ok {
					return nil
				}
				wait = false
			case <-tick.C:
				wait = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// writeEndpoints makes the endpoints of the Service kubernetes those of all
// servers that are there.
func (s *Server) writeEndpoints(ctx context.Context) error {
	r, err := s.store.Client.KV.Get(ctx, s.leasesPrefix(), clientv3.WithPrefix())
	if err != nil {
		return err
	}
	var places []netip.AddrPort
	for _, kv := range r.Kvs {
		if p, err := netip.ParseAddrPort(strings.TrimPrefix(string(kv.Key), s.leasesPrefix())); err == nil {
			places = append(places, p)
		}
	}
	if len(places) == 0 {
		return nil
	}
	endpoints, slices := planEndpoints(places)
	objs := []metav1.Object{endpoints}
	for _, e := range slices {
		objs = append(objs, e)
	}
	if err := s.ensure(ctx, objs); err != nil {
		return err
	}
	return s.dropSlices(ctx, slices)
}

// dropSlices deletes what was there for servers on other ports.
func (s *Server) dropSlices(ctx context.Context, keep []*discoveryv1.EndpointSlice) error {
	store := s.storeOf("discovery.k8s.io", "endpointslices")
	ctx = request.WithNamespace(ctx, metav1.NamespaceDefault)
	list, err := store.List(ctx, nil)
	if err != nil {
		return err
	}
	for _, e := range list.(*discoveryv1.EndpointSliceList).Items {
		if e.Labels[discoveryv1.LabelServiceName] != kubernetesService || e.Labels[discoveryv1.LabelManagedBy] != "" ||
			slices.ContainsFunc(keep, func(k *discoveryv1.EndpointSlice) bool { return k.Name == e.Name }) {
			continue
		}
		if _, _, err := store.Delete(ctx, e.Name, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// kubernetesService is how pods find the API server.
const kubernetesService = "kubernetes"

// planEndpoints groups servers by their port: those of one machine differ in
// it. The group of the least port has the name that clients know.
func planEndpoints(places []netip.AddrPort) (*corev1.Endpoints, []*discoveryv1.EndpointSlice) {
	type group struct {
		is6  bool
		port uint16
	}
	slices.SortFunc(places, netip.AddrPort.Compare)
	byPort := map[group][]netip.Addr{}
	var order []group
	for _, p := range slices.Compact(places) {
		g := group{p.Addr().Is6(), p.Port()}
		if byPort[g] == nil {
			order = append(order, g)
		}
		byPort[g] = append(byPort[g], p.Addr())
	}
	slices.SortFunc(order, func(a, b group) int { return int(a.port) - int(b.port) })
	endpoints := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: kubernetesService, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
	}}
	var out []*discoveryv1.EndpointSlice
	for i, g := range order {
		name, port, tcp, ready := "https", int32(g.port), corev1.ProtocolTCP, true
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: metav1.NamespaceDefault, Name: kubernetesService, Labels: map[string]string{discoveryv1.LabelServiceName: kubernetesService},
			},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
		}
		if g.is6 {
			slice.AddressType = discoveryv1.AddressTypeIPv6
		}
		if i > 0 {
			slice.Name += "-" + strings.ToLower(string(slice.AddressType)) + "-" + strconv.Itoa(int(port))
		}
		subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: name, Port: port, Protocol: tcp}}}
		for _, a := range byPort[g] {
			subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a.String()})
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
		}
		endpoints.Subsets = append(endpoints.Subsets, subset)
		out = append(out, slice)
	}
	return endpoints, out
}
