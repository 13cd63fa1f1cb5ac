package apiserver

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/emicklei/go-restful/v3"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/util"

	"github.com/skiffcluster/skiff/apiserver/openapi"
	"github.com/skiffcluster/skiff/apiserver/stack"
)

// group is the storage of one group and version.
type group struct {
	gv      schema.GroupVersion
	storage map[string]rest.Storage
}

// root is the path that the group is served under.
func (g group) root() string {
	if g.gv.Group == "" {
		return "/api/" + g.gv.Version
	}
	return "/apis/" + g.gv.String()
}

// resources splits the storage by resource: a resource's subresources are with
// it.
func (g group) resources() map[string]map[string]rest.Storage {
	out := map[string]map[string]rest.Storage{}
	for path, s := range g.storage {
		resource, _, _ := strings.Cut(path, "/")
		if out[resource] == nil {
			out[resource] = map[string]rest.Storage{}
		}
		out[resource][path] = s
	}
	return out
}

// installer adds groups to a server. It does what the library's
// InstallAPIGroups does, but makes OpenAPI models and routes (routes.go) only
// when they are asked for.
type installer struct {
	server *genericapiserver.GenericAPIServer
	config *genericapiserver.Config
	scheme *runtime.Scheme
	codecs runtime.NegotiatedSerializer
	params runtime.ParameterCodec
	spec   *openapi.Spec
	routes routes

	groups map[string]group // by root
}

func (i *installer) install(groups []group) error {
	i.groups = map[string]group{}
	byName := map[string]*metav1.APIGroup{}
	var order []string
	for _, g := range groups {
		described, err := i.installGroup(g)
		if err != nil {
			return fmt.Errorf("install %s: %w", g.gv, err)
		}
		version := apidiscoveryv2.APIVersionDiscovery{
			Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Version: g.gv.Version, Resources: slices.Clone(described.aggregated),
		}
		if g.gv.Group == "" {
			i.server.AggregatedLegacyDiscoveryGroupManager.AddGroupVersion("", version)
			continue
		}
		i.server.AggregatedDiscoveryGroupManager.AddGroupVersion(g.gv.Group, version)
		entry := metav1.GroupVersionForDiscovery{GroupVersion: g.gv.String(), Version: g.gv.Version}
		if byName[g.gv.Group] == nil {
			byName[g.gv.Group] = &metav1.APIGroup{Name: g.gv.Group, PreferredVersion: entry}
			order = append(order, g.gv.Group)
		}
		byName[g.gv.Group].Versions = append(byName[g.gv.Group].Versions, entry)
	}
	for _, name := range order {
		i.server.DiscoveryGroupManager.AddGroup(*byName[name])
		i.server.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(i.server.Serializer, *byName[name]).WebService())
	}
	root := discovery.NewLegacyRootAPIHandler(i.config.DiscoveryAddresses, i.server.Serializer, "/api")
	legacy := i.server.AggregatedLegacyDiscoveryGroupManager
	i.server.Handler.GoRestfulContainer.Add(
		aggregated.WrapAggregatedDiscoveryToHandler(root, legacy, legacy).GenerateWebService("/api", metav1.APIVersions{}))
	return nil
}

// installGroup adds a group's resources, and the list of them, which is all that
// the server's own routes have of it.
func (i *installer) installGroup(g group) (description, error) {
	i.groups[g.root()] = g
	for _, s := range g.storage {
		i.server.RegisterDestroyFunc(s.Destroy)
	}
	if err := i.registerKinds(g); err != nil {
		return description{}, err
	}
	i.addRoutes(g)
	described, err := i.describe(g)
	if err != nil {
		return description{}, err
	}
	list := new(restful.WebService)
	list.Path(g.root()).Doc("API at " + g.root())
	discovery.NewAPIVersionHandler(i.codecs, g.gv, discovery.APIResourceListerFunc(func() []metav1.APIResource { return described.resources })).AddToWebService(list)
	i.server.Handler.GoRestfulContainer.Add(list)
	return described, nil
}

// registerKinds says of what kinds the resources are, by which admission finds
// the other versions of a resource: also of those that nobody has asked for.
func (i *installer) registerKinds(g group) error {
	for path, s := range g.storage {
		kind, err := endpoints.GetResourceKind(g.gv, s, i.scheme)
		if err != nil {
			return err
		}
		resource, subresource, _ := strings.Cut(path, "/")
		i.server.EquivalentResourceRegistry.RegisterKindFor(g.gv.WithResource(resource), subresource, kind)
	}
	return nil
}

// version is what the library makes routes of, for some of a group's storage.
func (i *installer) version(g group, storage map[string]rest.Storage, types managedfields.TypeConverter) *endpoints.APIGroupVersion {
	served := map[string][]string{}
	for r := range storage {
		served[r] = []string{g.gv.Version}
	}
	prefix, _, _ := strings.Cut(g.root()[1:], "/")
	return &endpoints.APIGroupVersion{
		Storage: storage, Root: "/" + prefix, GroupVersion: g.gv, AllServedVersionsByResource: served,
		OptionsExternalVersion: &schema.GroupVersion{Version: "v1"},
		Serializer:             i.codecs, ParameterCodec: i.params,
		Typer: i.scheme, Creater: roomy{i.scheme}, Convertor: i.scheme, ConvertabilityChecker: i.scheme,
		UnsafeConvertor: sharing{runtime.UnsafeObjectConvertor(i.scheme)}, Defaulter: i.scheme,
		Namer: runtime.Namer(meta.NewAccessor()), TypeConverter: types,
		EquivalentResourceRegistry: registered{i.server.EquivalentResourceRegistry},
		Authorizer:                 i.server.Authorizer, Admit: i.config.AdmissionControl,
		MinRequestTimeout:   time.Duration(i.config.MinRequestTimeout) * time.Second,
		MaxRequestBodyBytes: i.config.MaxRequestBodyBytes,
	}
}

// roomy grows the stack of a create's goroutine: it makes an empty object first.
type roomy struct {
	runtime.ObjectCreater
}

func (r roomy) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	stack.Reserve()
	return r.ObjectCreater.New(kind)
}

// registered is a registry that has all kinds already (registerKinds).
type registered struct {
	runtime.EquivalentResourceRegistry
}

func (registered) RegisterKindFor(schema.GroupVersionResource, string, schema.GroupVersionKind) {}

// typeConverter is of the versioned types that the group's storage serves.
func (i *installer) typeConverter(g group) managedfields.TypeConverter {
	var samples []runtime.Object
	seen := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(g.storage)) {
		kind, err := endpoints.GetResourceKind(g.gv, g.storage[path], i.scheme)
		if err != nil {
			continue // registerKinds has told
		}
		versioned, err := i.scheme.New(kind)
		if err != nil {
			continue // options of a connect request, which nobody applies
		}
		if name := util.GetCanonicalTypeName(versioned); !seen[name] {
			seen[name] = true
			samples = append(samples, versioned)
		}
	}
	return i.spec.TypeConverter(samples...)
}
