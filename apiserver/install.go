package apiserver

import (
	"fmt"
	"time"

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
)

// group is the storage of one group and version.
type group struct {
	gv      schema.GroupVersion
	storage map[string]rest.Storage
}

// installer adds groups to a server. It does what the library's
// InstallAPIGroups does, without building OpenAPI models at start.
type installer struct {
	server *genericapiserver.GenericAPIServer
	config *genericapiserver.Config
	scheme *runtime.Scheme
	codecs runtime.NegotiatedSerializer
	params runtime.ParameterCodec
	spec   *openapi.Spec
}

func (i *installer) install(groups []group) error {
	byName := map[string]*metav1.APIGroup{}
	var order []string
	for _, g := range groups {
		resources, err := i.routes(g)
		if err != nil {
			return fmt.Errorf("install %s: %w", g.gv, err)
		}
		version := apidiscoveryv2.APIVersionDiscovery{
			Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Version: g.gv.Version, Resources: resources,
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

func (i *installer) routes(g group) ([]apidiscoveryv2.APIResourceDiscovery, error) {
	root := "/apis"
	if g.gv.Group == "" {
		root = "/api"
	}
	served := map[string][]string{}
	for r, s := range g.storage {
		served[r] = []string{g.gv.Version}
		i.server.RegisterDestroyFunc(s.Destroy)
	}
	v := &endpoints.APIGroupVersion{
		Storage: g.storage, Root: root, GroupVersion: g.gv, AllServedVersionsByResource: served,
		OptionsExternalVersion: &schema.GroupVersion{Version: "v1"},
		Serializer:             i.codecs, ParameterCodec: i.params,
		Typer: i.scheme, Creater: i.scheme, Convertor: i.scheme, ConvertabilityChecker: i.scheme,
		UnsafeConvertor: runtime.UnsafeObjectConvertor(i.scheme), Defaulter: i.scheme,
		Namer: runtime.Namer(meta.NewAccessor()), TypeConverter: i.typeConverter(g),
		EquivalentResourceRegistry: i.server.EquivalentResourceRegistry,
		Authorizer:                 i.server.Authorizer, Admit: i.config.AdmissionControl,
		MinRequestTimeout:   time.Duration(i.config.MinRequestTimeout) * time.Second,
		MaxRequestBodyBytes: i.config.MaxRequestBodyBytes,
	}
	resources, _, err := v.InstallREST(i.server.Handler.GoRestfulContainer)
	return resources, err
}

// typeConverter is of the versioned types that the group's storage serves.
func (i *installer) typeConverter(g group) managedfields.TypeConverter {
	var samples []runtime.Object
	seen := map[string]bool{}
	for _, s := range g.storage {
		versioned, err := i.scheme.New(i.served(g.gv, s))
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

// served is the kind that a storage's objects have on the wire.
func (i *installer) served(gv schema.GroupVersion, s rest.Storage) schema.GroupVersionKind {
	if p, ok := s.(rest.GroupVersionKindProvider); ok {
		return p.GroupVersionKind(gv)
	}
	kinds, _, err := i.scheme.ObjectKinds(s.New())
	if err != nil {
		return schema.GroupVersionKind{}
	}
	for _, k := range kinds {
		if k.Group == gv.Group {
			return gv.WithKind(k.Kind)
		}
	}
	return schema.GroupVersionKind{}
}
