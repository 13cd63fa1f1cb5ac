package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/pki"
)

const (
	extensionAddress = "10.3.2.1"
	flowers          = "garden.example.com/v1"
)

// extension is an extension API server of one resource.
type extension struct {
	t     testing.TB
	ca    []byte
	proxy atomic.Pointer[x509.CertPool] // who may speak for others
	asked atomic.Pointer[http.Header]   // of the last request for a flower
	http  *httptest.Server
}

// extend starts one; dial reaches it at its address in the cluster.
func extend(t testing.TB) (_ *extension, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	t.Helper()
	store, err := pki.Open("", clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := store.Serving("extension", pkix.Name{CommonName: "garden"}, "garden.default.svc")
	if err != nil {
		t.Fatal(err)
	}
	e := &extension{t: t, ca: store.CA()}
	e.http = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.http.TLS = &tls.Config{GetCertificate: leaf.ServerCertificate, ClientAuth: tls.RequestClientCert}
	e.http.StartTLS()
	t.Cleanup(e.http.Close)
	place := e.http.Listener.Addr().String()
	return e, func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != net.JoinHostPort(extensionAddress, "8443") {
			return nil, fmt.Errorf("nothing is at %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, place)
	}
}

// serve answers as k8s.io/apiserver does with delegated authentication.
func (e *extension) serve(w http.ResponseWriter, r *http.Request) {
	write := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	flower := func(name string) map[string]any {
		return map[string]any{"apiVersion": flowers, "kind": "Flower", "metadata": map[string]any{"name": name, "resourceVersion": "7"}}
	}
	if pool := e.proxy.Load(); pool != nil {
		if len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "no certificate", http.StatusUnauthorized)
			return
		}
		c := r.TLS.PeerCertificates[0]
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil || c.Subject.CommonName != "front-proxy-client" {
			http.Error(w, fmt.Sprint("not the front proxy: ", err), http.StatusUnauthorized)
			return
		}
	}
	switch strings.TrimPrefix(r.URL.Path, "/apis/"+flowers) {
	case "":
		write(metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: flowers, APIResources: []metav1.APIResource{
			{Name: "flowers", SingularName: "flower", Kind: "Flower", Verbs: metav1.Verbs{"get", "list", "watch"}},
		}})
	case "/flowers":
		header := r.Header.Clone()
		e.asked.Store(&header)
		if r.URL.Query().Get("watch") == "" {
			write(map[string]any{"apiVersion": flowers, "kind": "FlowerList", "metadata": map[string]any{"resourceVersion": "7"}, "items": []any{flower("rose")}})
			return
		}
		write(map[string]any{"type": "ADDED", "object": flower("lily")})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/flowers/rose":
		write(flower("rose"))
	case "/openapi/v3":
		write(map[string]any{"paths": map[string]any{"apis/" + flowers: map[string]any{"serverRelativeURL": "/openapi/v3/apis/" + flowers + "?hash=1"}}})
	case "/openapi/v3/apis/" + flowers:
		write(map[string]any{"openapi": "3.0.0", "info": map[string]any{"title": "flowers", "version": "1"}, "paths": map[string]any{}})
	case "/openapi/v2":
		write(map[string]any{"swagger": "2.0", "info": map[string]any{"title": "flowers", "version": "1"}, "paths": map[string]any{
			"/apis/" + flowers + "/flowers": map[string]any{"get": map[string]any{"operationId": "listFlowers", "responses": map[string]any{"200": map[string]any{"description": "OK"}}}},
		}})
	default:
		http.NotFound(w, r)
	}
}

func (e *extension) service() (*corev1.Service, *discoveryv1.EndpointSlice) {
	s := &corev1.Service{ObjectMeta: named("garden"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt(8443)}}}}
	m := named("garden-1")
	m.Labels = map[string]string{discoveryv1.LabelServiceName: "garden"}
	return s, &discoveryv1.EndpointSlice{
		ObjectMeta: m, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{extensionAddress}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		Ports:     []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To[int32](8443), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
}

// register makes the APIService.
func (e *extension) register(k aggregatorclient.Interface) {
	e.t.Helper()
	_, err := k.ApiregistrationV1().APIServices().Create(e.t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.garden.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "garden.example.com", Version: "v1", GroupPriorityMinimum: 2000, VersionPriority: 10, CABundle: e.ca,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "garden"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
}

func aggregator(t testing.TB, c *clustertest.Cluster) aggregatorclient.Interface {
	t.Helper()
	k, err := aggregatorclient.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// available waits until a server is, or is not and why.
func available(t testing.TB, k aggregatorclient.Interface, want string) {
	t.Helper()
	eventually(t, func() error {
		s, err := k.ApiregistrationV1().APIServices().Get(t.Context(), "v1.garden.example.com", metav1.GetOptions{})
		if err != nil {
			return err
		}
		c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
		if c == nil {
			return errors.New("no condition")
		}
		if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != want {
			return errors.New(got)
		}
		return nil
	})
}

func TestExtensionServerIsServed(t *testing.T) {
	e, dial := extend(t)
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.DialNode = dial })
	ctx, k, apis := t.Context(), clientset(t, c.RESTConfig()), aggregator(t, c)
	e.trust(k)
	service, slice := e.service()
	e.register(apis)
	available(t, apis, `False ServiceNotFound: service/garden in "default" is not present`)
	api := rawTo(t, access(t, c))
	// Its route is made by another controller than the one that says so.
	eventually(t, func() error {
		if a := api.get("/apis/" + flowers + "/flowers"); a.code != 503 || string(a.body) != "service unavailable\n" {
			return fmt.Errorf("%d %q", a.code, a.body)
		}
		return nil
	})
	if _, err := k.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	available(t, apis, `False EndpointsNotFound: cannot find endpointslices for service/garden in "default"`)
	if _, err := k.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	available(t, apis, "True Passed: all checks passed")

	dyn, err := dynamic.NewForConfig(c.As("ann", "gardeners", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	resource := dyn.Resource(schema.GroupVersionResource{Group: "garden.example.com", Version: "v1", Resource: "flowers"})
	eventually(t, func() error { _, err := resource.List(ctx, metav1.ListOptions{}); return err })
	list, err := resource.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if h := *e.asked.Load(); h.Get("X-Remote-User") != "ann" || h.Values("X-Remote-Group")[0] != "gardeners" {
		t.Errorf("headers %v", h)
	}
	if o, err := resource.Get(ctx, "rose", metav1.GetOptions{}); err != nil || o.GetName() != "rose" {
		t.Errorf("%v, %v", o, err)
	}
	w, err := resource.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ev := <-w.ResultChan(); ev.Type != "ADDED" {
		t.Errorf("%+v", ev)
	}
	w.Stop()

	e.isDiscovered(api, k)

	// It dies, and comes back.
	if err := k.DiscoveryV1().EndpointSlices("default").Delete(ctx, slice.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	available(t, apis, `False EndpointsNotFound: cannot find endpointslices for service/garden in "default"`)
	eventually(t, func() error {
		if a := api.get("/apis/" + flowers + "/flowers"); a.code != 503 {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		return nil
	})
	if a := api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.garden.example.com", "Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"); !strings.Contains(string(a.body), `"default/garden","False (EndpointsNotFound)"`) {
		t.Errorf("table %s", a.body)
	}
	if _, err := k.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	available(t, apis, "True Passed: all checks passed")

	if err := apis.ApiregistrationV1().APIServices().Delete(ctx, "v1.garden.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := api.get("/apis/" + flowers + "/flowers"); a.code != 404 {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		for _, accept := range []string{"application/json", aggregatedDiscovery} {
			if a := api.get("/apis", "Accept", accept); strings.Contains(string(a.body), "garden") {
				return errors.New("still in discovery")
			}
		}
		return nil
	})
}

const aggregatedDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// isDiscovered looks for the group in every form of discovery and documents.
func (e *extension) isDiscovered(api *raw, k *kubernetes.Clientset) {
	e.t.Helper()
	var root metav1.RootPaths
	api.get("/").into(e.t, &root)
	for _, p := range []string{"/apis/apps/v1", "/apis/garden.example.com", "/apis/garden.example.com/v1"} {
		if !slices.Contains(root.Paths, p) {
			e.t.Errorf("/ does not list %s", p)
		}
	}
	eventually(e.t, func() error {
		resources, err := k.Discovery().ServerResourcesForGroupVersion(flowers)
		if err != nil {
			return err
		}
		if len(resources.APIResources) != 1 {
			return fmt.Errorf("%v", resources)
		}
		for path, want := range map[string]string{
			"/apis":                       `"name":"garden.example.com"`,
			"/apis/garden.example.com":    `"preferredVersion":{"groupVersion":"garden.example.com/v1"`,
			"/openapi/v3":                 `"apis/garden.example.com/v1"`,
			"/openapi/v3/apis/" + flowers: `"title":"flowers"`,
			"/openapi/v3/apis/apps/v1":    "io.k8s.api.apps.v1.Deployment",
			"/openapi/v2":                 "listFlowers",
		} {
			if a := api.get(path); a.code != 200 || !strings.Contains(strings.ReplaceAll(string(a.body), " ", ""), want) {
				return fmt.Errorf("%s: %d %.300s", path, a.code, a.body)
			}
		}
		if a := api.get("/apis", "Accept", aggregatedDiscovery); !strings.Contains(string(a.body), `"resource":"flowers"`) || !strings.Contains(string(a.body), `"resource":"deployments"`) {
			return errors.New("not in the aggregated form")
		}
		return nil
	})
}

// trust reads who may speak for others, as extension servers do.
func (e *extension) trust(k *kubernetes.Clientset) {
	e.t.Helper()
	var m *corev1.ConfigMap
	eventually(e.t, func() (err error) {
		m, err = k.CoreV1().ConfigMaps("kube-system").Get(e.t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
		return err
	})
	for key, want := range map[string]string{
		"requestheader-allowed-names": `["front-proxy-client"]`, "requestheader-username-headers": `["X-Remote-User"]`,
		"requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	} {
		if m.Data[key] != want {
			e.t.Errorf("%s: %q", key, m.Data[key])
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(m.Data["requestheader-client-ca-file"])) || !strings.Contains(m.Data["client-ca-file"], "CERTIFICATE") {
		e.t.Fatalf("%v", m.Data)
	}
	e.proxy.Store(pool)
}

func TestServerRegistersItsOwnGroups(t *testing.T) {
	c := clustertest.APIServer(t)
	ctx, k, api := t.Context(), aggregator(t, c), rawTo(t, c.RESTConfig())
	get := func(name string) (*apiregistrationv1.APIService, error) {
		return k.ApiregistrationV1().APIServices().Get(ctx, name, metav1.GetOptions{})
	}
	for name, priority := range map[string]int32{"v1.": 18000, "v1.apps": 17800, "v2.autoscaling": 17500, "v1.apiextensions.k8s.io": 16700, "v1.flowcontrol.apiserver.k8s.io": 16100} {
		eventually(t, func() error {
			s, err := get(name)
			if err == nil && (s.Spec.GroupPriorityMinimum != priority || !helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available)) {
				t.Fatalf("%+v", s)
			}
			return err
		})
	}
	if a := api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", "Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"); !strings.Contains(string(a.body), `["v1.apps","Local","True"`) {
		t.Errorf("%s", a.body)
	}
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	api.do("POST", definitions, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"trees.garden.example.com"},
		"spec":{"group":"garden.example.com","scope":"Namespaced","names":{"plural":"trees","kind":"Tree"},"versions":[
			{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}},
			{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`).into(t, &struct{}{})
	for _, name := range []string{"v1.garden.example.com", "v2.garden.example.com"} {
		eventually(t, func() error { _, err := get(name); return err })
	}
	if err := k.ApiregistrationV1().APIServices().Delete(ctx, "v2.garden.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { _, err := get("v2.garden.example.com"); return err })
	if _, err := k.ApiregistrationV1().APIServices().Patch(ctx, "v1.apps", types.MergePatchType, []byte(`{"spec":{"versionPriority":9999}}`), metav1.PatchOptions{}); err == nil {
		t.Error("a priority out of bounds was stored")
	}
	api.do("DELETE", definitions+"/trees.garden.example.com", "")
	eventually(t, func() error {
		for _, name := range []string{"v1.garden.example.com", "v2.garden.example.com"} {
			if _, err := get(name); err == nil {
				return errors.New(name + " is still there")
			}
		}
		return nil
	})
}
