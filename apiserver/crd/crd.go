// Package crd serves CustomResourceDefinitions and the custom resources that
// they define, by k8s.io/apiextensions-apiserver behind the built-in kinds in
// the same chain.
//
// A request that no built-in route takes falls through to it. What this room
// adds to the library: storage over the one etcd client, groups of custom
// resources in the plain /apis list, their documents in OpenAPI, and a
// custom resource that can be stored as soon as its definition is established.
//
// Reads and writes CustomResourceDefinitions and custom resources. Start at
// New.
package crd

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	noop "go.opentelemetry.io/otel/trace/noop"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-openapi/pkg/handler3"

	"github.com/skiffcluster/skiff/apiserver/answers"
	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// Server serves custom resources.
type Server struct {
	*apiserver.CustomResourceDefinitions
	documents *documents
}

// New makes the server. config is the one of the server that it stands behind:
// same users, rights, admission and discovery. dial reaches the services that
// convert.
func New(ctx context.Context, config genericapiserver.Config, store *etcd.Store, resolver webhook.ServiceResolver, dial utilnet.DialFunc) (*Server, error) {
	generic := genericapiserver.NewRecommendedConfig(apiserver.Codecs)
	g := &generic.Config
	g.EffectiveVersion, g.Authentication, g.Authorization = config.EffectiveVersion, config.Authentication, config.Authorization
	g.LoopbackClientConfig, g.ExternalAddress, g.PublicAddress = config.LoopbackClientConfig, config.ExternalAddress, config.PublicAddress
	g.AggregatedDiscoveryGroupManager = config.AggregatedDiscoveryGroupManager
	g.AdmissionControl = admission.NewChainHandler(backdate{}, config.AdmissionControl)
	g.RequestTimeout, g.MinRequestTimeout = config.RequestTimeout, config.MinRequestTimeout
	g.EnableProfiling, g.EnableContentionProfiling = config.EnableProfiling, config.EnableContentionProfiling
	g.StorageObjectCountTracker, g.SkipOpenAPIInstallation = nil, true
	g.MergedResourceConfig = apiserver.DefaultAPIResourceConfigSource()
	g.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions,
		apiopenapi.NewDefinitionNamer(apiserver.Scheme, clientgoscheme.Scheme))
	codec := shallow{apiserver.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)}
	definitions := etcd.NewGetter(ctx, store, func(schema.GroupResource) (runtime.Codec, runtime.GroupVersioner) {
		return codec, apiextensionsv1.SchemeGroupVersion
	})
	definitions.Share = share
	g.RESTOptionsGetter = definitions
	grows := &growth{known: map[string]*fillings{}}
	resources := etcd.NewGetter(ctx, store, func(gr schema.GroupResource) (runtime.Codec, runtime.GroupVersioner) {
		return bounded{shallow{unstructured.UnstructuredJSONScheme}, grows, gr.String()}, nil
	})
	resources.Wait = true
	wrap := webhook.NewDefaultAuthenticationInfoResolverWrapper(&http.Transport{DialContext: dial}, nil, config.LoopbackClientConfig, noop.NewTracerProvider())
	c := &apiserver.Config{GenericConfig: generic, ExtraConfig: apiserver.ExtraConfig{
		CRDRESTOptionsGetter: resources, MasterCount: 1, ServiceResolver: resolver,
		AuthResolverWrapper: func(r webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
			return answers.Limit(wrap(r), nil)
		},
	}}
	// It is the last of the chain: what it does not serve, nobody does.
	last := notfoundhandler.New(apiserver.Codecs, genericapifilters.NoMuxAndDiscoveryIncompleteKey)
	s, err := c.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(last))
	if err != nil {
		return nil, fmt.Errorf("server of custom resources: %w", err)
	}
	grows.definitions = s.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()
	s.GenericAPIServer.Handler.Director = grows.bound(s.GenericAPIServer.Handler.Director)
	return &Server{s, &documents{definitions: grows.definitions, told: map[string]told{}}}, nil
}

// share gives a definition the spec of an earlier version of it. Each is
// written some times more with another status when it is new.
func share(obj, before runtime.Object) {
	now, ok := obj.(*apiextensions.CustomResourceDefinition)
	old, also := before.(*apiextensions.CustomResourceDefinition)
	if !ok || !also {
		return
	}
	if now.UID == old.UID && now.Generation == old.Generation && equality.Semantic.DeepEqual(now.Spec, old.Spec) {
		now.Spec = old.Spec
	}
	for i := range now.ManagedFields {
		for j := range old.ManagedFields {
			a, b := &now.ManagedFields[i], &old.ManagedFields[j]
			if a.FieldsV1 != nil && b.FieldsV1 != nil && bytes.Equal(a.FieldsV1.Raw, b.FieldsV1.Raw) {
				a.FieldsV1 = b.FieldsV1
			}
		}
	}
}

// Run starts what the library starts late by itself: the informer, whose first
// poll by the library's hooks then finds it filled, and the groups of
// established definitions in front's plain discovery and documents. It blocks
// until ctx ends.
func (s *Server) Run(ctx context.Context, front *genericapiserver.GenericAPIServer, documents *handler3.OpenAPIService) error {
	definitions := s.Informers.Apiextensions().V1().CustomResourceDefinitions()
	front.DiscoveryGroupManager.AddGroup(describe(apiextensionsv1.GroupName, []string{apiextensionsv1.SchemeGroupVersion.Version}))
	s.documents.v3 = documents
	g, err := newGroups(ctx, front)
	if err != nil {
		return err
	}
	for _, h := range []cache.ResourceEventHandler{g, s.documents} {
		if _, err := definitions.Informer().AddEventHandler(h); err != nil {
			return fmt.Errorf("follow definitions: %w", err)
		}
	}
	s.Informers.Start(ctx.Done())
	defer s.Informers.Shutdown()
	// The library's controller calls it an error to end before this.
	if err := s.Synced(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// Synced waits until the definitions that exist are known. It asks every
// millisecond: the library's own wait asks every tenth of a second, which is
// longer than all the rest of a start.
func (s *Server) Synced(ctx context.Context) error {
	informer := s.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer()
	return wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) {
		return informer.HasSynced(), nil
	})
}

// backdate moves the time at which a definition was established two seconds
// back. The library makes creates wait that long so that several API servers
// agree on it; ours read one etcd through watch caches that are waited for.
type backdate struct{}

const grace = 2 * time.Second

func (backdate) Handles(op admission.Operation) bool { return op == admission.Update }

// Admit implements admission.MutationInterface.
func (backdate) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	crd, ok := a.GetObject().(*apiextensions.CustomResourceDefinition)
	if !ok || a.GetSubresource() != "status" {
		return nil
	}
	for i := range crd.Status.Conditions {
		c := &crd.Status.Conditions[i]
		if c.Type == apiextensions.Established && time.Since(c.LastTransitionTime.Time) < grace {
			c.LastTransitionTime.Time = c.LastTransitionTime.Add(-grace)
		}
	}
	return nil
}
