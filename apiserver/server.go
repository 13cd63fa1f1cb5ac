package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/handler3"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/all"
	"github.com/skiffcluster/skiff/api/scheme"
	"github.com/skiffcluster/skiff/apiserver/admission"
	"github.com/skiffcluster/skiff/apiserver/aggregation"
	"github.com/skiffcluster/skiff/apiserver/audit"
	"github.com/skiffcluster/skiff/apiserver/auth"
	"github.com/skiffcluster/skiff/apiserver/crd"
	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/apiserver/expressions"
	"github.com/skiffcluster/skiff/apiserver/inprocess"
	"github.com/skiffcluster/skiff/apiserver/openapi"
	"github.com/skiffcluster/skiff/apiserver/registry"
	"github.com/skiffcluster/skiff/apiserver/services"
)

// Server is an API server.
type Server struct {
	config     Config
	store      *etcd.Store
	transport  *inprocess.Transport
	informers  informers.SharedInformerFactory
	client     kubernetes.Interface
	generic    *genericapiserver.GenericAPIServer
	serve      func(ctx context.Context, drain time.Duration) (stopped, listenerStopped <-chan struct{}, err error)
	closing    context.Context //nolint:containedctx // ends long-running requests
	close      context.CancelFunc
	resources  map[schema.GroupResource]*registry.Resource
	byType     map[reflect.Type]*registry.Resource // the same by the Go type of their objects
	versions   []*registry.Resource                // further versions of resources
	routes     routes
	tokens     *auth.Tokens
	rbac       *auth.RBAC
	allocator  *services.Allocator
	cidrs      services.CIDRs
	crd        *crd.Server
	enabled    *serverstorage.ResourceConfig
	fairness   *fairness // nil without a socket
	aggregator *aggregation.Aggregator
	documents  *handler3.OpenAPIService
	presences  []*presence
	assembled  chan struct{}
	ready      chan struct{}
	beside     []func(context.Context) // what keeps up with files while the server runs

	authenticator *auth.Authenticator
	authorizer    *auth.Authorizer
	audit         *audit.Backend
	audiences     authenticator.Audiences
}

// release is the minor version, "1.37", as the API's documents name it.
var release = strings.TrimPrefix(Version[:strings.LastIndexByte(Version, '.')], "v")

// shared is what all servers of a process have in common: it is costly to make
// and never changed after.
var shared = sync.OnceValue(func() *types {
	s := scheme.New()
	// Lists are written object by object: a client that reads slowly has the
	// memory of one of them, not of all.
	codecs := serializer.NewCodecFactory(s, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	return &types{s, codecs, runtime.NewParameterCodec(s), openapi.New(release, s, apiextensions.Scheme)}
})

type types struct {
	scheme *runtime.Scheme
	codecs serializer.CodecFactory
	params runtime.ParameterCodec
	spec   *openapi.Spec
}

// self is the server as its own client.
var self = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// New opens the data and puts the server together. Run serves.
func New(ctx context.Context, c Config) (_ *Server, err error) {
	if err := chooseFeatures(); err != nil {
		return nil, err
	}
	c.complete()
	closing, cancel := context.WithCancel(context.Background())
	s := &Server{closing: closing, close: cancel, config: c, transport: inprocess.New(), assembled: make(chan struct{}), ready: make(chan struct{}), resources: map[schema.GroupResource]*registry.Resource{}, byType: map[reflect.Type]*registry.Resource{}, routes: routes{}}
	if s.store, err = etcd.Start(ctx, c.Etcd); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	if s.client, err = kubernetes.NewForConfig(s.RESTConfig(self)); err != nil {
		return nil, fmt.Errorf("own client: %w", err)
	}
	s.informers = informers.NewSharedInformerFactory(s.client, 0)
	if err := s.assemble(ctx); err != nil {
		return nil, err
	}
	close(s.assembled)
	return s, nil
}

// abandon closes what a server holds that could not be put together.
func (s *Server) abandon() {
	s.close()
	s.audit.Stop()
	for _, r := range s.resources {
		r.Store.Destroy()
	}
	switch {
	case s.generic != nil:
		s.generic.Destroy()
	case s.crd != nil:
		s.crd.GenericAPIServer.Destroy()
	}
	s.transport.Close()
	s.store.Stop()
}

// RESTConfig reaches this server from its own process as u, without a socket.
func (s *Server) RESTConfig(u user.Info) *restclient.Config {
	return &restclient.Config{
		Host: "http://in-process", Transport: s.transport.As(u), QPS: -1,
		ContentConfig: restclient.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON},
	}
}

// Ready is closed when the server answers and the bootstrap objects are there.
func (s *Server) Ready() <-chan struct{} { return s.ready }

func (s *Server) assemble(ctx context.Context) error {
	t := shared()
	kinds, err := s.enable(t, all.Kinds())
	if err != nil {
		return err
	}
	if err := s.openRanges(); err != nil {
		return err
	}
	if err := s.openResources(ctx, t, kinds); err != nil {
		return err
	}
	cfg, err := s.genericConfig(t)
	if err != nil {
		return err
	}
	cfg.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	if s.crd, err = crd.New(ctx, *cfg, s.store, s.services(), s.config.DialNode); err != nil {
		return err
	}
	if err := s.addSubresources(); err != nil {
		return err
	}
	groups := s.groups(kinds)
	if err := s.aggregate(cfg, groups); err != nil {
		return err
	}
	s.divide()
	s.measure()
	if s.generic, err = cfg.Complete(s.informers).New("skiff", s.crd.GenericAPIServer); err != nil {
		return fmt.Errorf("assemble API server: %w", err)
	}
	i := &installer{server: s.generic, config: cfg, scheme: t.scheme, codecs: t.codecs, params: t.params, spec: t.spec, routes: s.routes}
	if err := i.install(groups); err != nil {
		return err
	}
	for _, r := range s.resources {
		s.generic.RegisterDestroyFunc(r.Store.Destroy) // also of kinds that are not served
	}
	s.documents = t.spec.Serve(s.generic.Handler.NonGoRestfulMux, s.generic.Handler.NonGoRestfulMux, func() []*restful.WebService {
		all := s.generic.Handler.GoRestfulContainer.RegisteredWebServices()
		for _, ws := range s.crd.GenericAPIServer.Handler.GoRestfulContainer.RegisteredWebServices() {
			// Both serve /version, of which a document tells once.
			if !slices.ContainsFunc(all, func(w *restful.WebService) bool { return w.RootPath() == ws.RootPath() }) {
				all = append(all, ws)
			}
		}
		if s.tokens != nil {
			all = append(all, openapi.Issuer(auth.OIDCPath, auth.JWKSPath)...)
		}
		return all
	}, i.complete, s.crd.OpenAPI2)
	if err := s.addHealth(); err != nil {
		return err
	}
	if s.tokens != nil {
		configuration, keys, err := s.tokens.Discovery(cmp.Or(s.config.ServiceAccounts.JWKSURI, "https://"+cfg.ExternalAddress+auth.JWKSPath))
		if err != nil {
			return err
		}
		s.generic.Handler.NonGoRestfulMux.Handle(auth.OIDCPath, configuration)
		s.generic.Handler.NonGoRestfulMux.Handle(auth.JWKSPath, keys)
	}
	for path, h := range s.config.Paths {
		s.generic.Handler.NonGoRestfulMux.Handle(path, h)
	}
	s.serve = s.generic.PrepareRun().NonBlockingRunWithContext
	if s.fairness != nil {
		s.fairness.Install(s.generic.Handler.NonGoRestfulMux)
	}
	s.transport.Serve(inProcessChain(s.index(s.aggregator.Handler(s.routes.handler(s.generic.Handler.Director))), cfg))
	return nil
}

// openResources makes the storage of every kind.
func (s *Server) openResources(ctx context.Context, t *types, kinds []*api.Kind) error {
	versions := map[schema.GroupResource]schema.GroupVersion{}
	for _, k := range kinds {
		versions[k.StorageResource] = k.StorageVersion
	}
	codecs := map[schema.GroupVersion]runtime.Codec{}
	for _, gv := range versions {
		if codecs[gv] != nil {
			continue
		}
		codec, _, err := serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
			StorageMediaType: runtime.ContentTypeProtobuf, StorageSerializer: t.codecs, StorageVersion: gv,
			MemoryVersion: schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal},
		})
		if err != nil {
			return fmt.Errorf("storage codec of %s: %w", gv, err)
		}
		codecs[gv] = codec
	}
	getter := etcd.NewGetter(ctx, s.store, func(gr schema.GroupResource) (runtime.Codec, runtime.GroupVersioner) {
		gv := versions[gr]
		return codecs[gv], gv
	})
	// A kind that lives in another's storage comes after that one.
	for _, pass := range []bool{true, false} {
		for _, k := range kinds {
			own := k.StorageResource == k.GVR.GroupResource()
			if own != pass {
				continue
			}
			if err := s.openResource(t, k, getter, own); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) openResource(t *types, k *api.Kind, getter generic.RESTOptionsGetter, own bool) error {
	var from *registry.Resource
	if !own {
		if from = s.resources[k.StorageResource]; from == nil {
			return fmt.Errorf("kind %s is stored as %s, which is not declared", k.GVK, k.StorageResource)
		}
	} else if existing := s.resources[k.GVR.GroupResource()]; existing != nil {
		from = existing // a further version
	}
	expressions.Attach(k)
	admission.Reserve(k)
	keepMandatory(k)
	s.guardDevices(k)
	r, err := registry.New(t.scheme, k, getter, from)
	if err != nil {
		return err
	}
	r.Store.DeleteCollectionWorkers = max(1, s.config.DeleteCollectionWorkers)
	if k.GVR.Resource == "events" && from == nil {
		ttl := uint64(s.config.EventTTL / time.Second)
		r.Store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return ttl, nil }
	}
	key := k.GVR.GroupResource()
	if s.resources[key] == nil {
		s.resources[key] = r
		s.byType[reflect.TypeOf(k.New())] = r
	} else {
		s.versions = append(s.versions, r)
	}
	return nil
}

// groups arranges the storage by group and version, as discovery lists them.
func (s *Server) groups(kinds []*api.Kind) []group {
	var out []group
	index := map[schema.GroupVersion]int{}
	add := func(gv schema.GroupVersion, storage map[string]rest.Storage) {
		if _, ok := index[gv]; !ok {
			index[gv] = len(out)
			out = append(out, group{gv, map[string]rest.Storage{}})
		}
		for path, st := range storage {
			out[index[gv]].storage[path] = st
		}
	}
	further := s.versions
	for _, k := range kinds {
		r := s.resources[k.GVR.GroupResource()]
		if r.Kind != k {
			r, further = further[0], further[1:]
		}
		if s.enabled.ResourceEnabled(k.GVR) {
			add(k.GVR.GroupVersion(), r.Storage)
		}
	}
	for gv, storage := range s.reviews() {
		maps.DeleteFunc(storage, func(path string, _ rest.Storage) bool { return !s.serves(gv, path) })
		if len(storage) > 0 {
			add(gv, storage)
		}
	}
	slices.SortStableFunc(out, func(a, b group) int { return aggregation.Compare(a.gv, b.gv) })
	return out
}

func (s *Server) genericConfig(t *types) (*genericapiserver.Config, error) {
	c := genericapiserver.NewConfig(t.codecs)
	c.EffectiveVersion = effectiveVersion{compatibility.DefaultBuildEffectiveVersion()}
	c.BuildHandlerChainFunc = func(h http.Handler, c *genericapiserver.Config) http.Handler {
		return socketChain(s.index(s.aggregator.Handler(s.routes.handler(h))), c, s.limit, s.config.Authentication.BasicFile != "", s.closing)
	}
	c.LoopbackClientConfig = s.RESTConfig(self)
	c.PublicAddress = s.config.AdvertiseAddress
	c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight = s.config.MaxRequestsInFlight, s.config.MaxMutatingInFlight
	c.RequestTimeout = s.config.RequestTimeout
	if err := s.config.Web.apply(c); err != nil {
		return nil, err
	}
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	c.SkipOpenAPIInstallation = true
	c.StorageObjectCountTracker = nil
	port := 443
	if s.config.Listener != nil {
		if err := s.secure(c); err != nil {
			return nil, err
		}
		port = s.config.Listener.Addr().(*net.TCPAddr).Port
	}
	c.ExternalAddress = net.JoinHostPort(cmp.Or(s.config.Web.ExternalHostname, s.config.AdvertiseAddress.String()), strconv.Itoa(port))
	c.DiscoveryAddresses = discovery.DefaultAddresses{DefaultAddress: c.ExternalAddress}
	for _, add := range []func(*genericapiserver.Config) error{s.authenticate, s.authorize, s.record, s.encrypt} {
		if err := add(c); err != nil {
			return nil, err
		}
	}
	var err error
	c.AdmissionControl, err = admission.New(admission.Config{
		Objects: objects{s}, Client: s.client, Informers: s.informers, REST: c.LoopbackClientConfig,
		Authorizer: c.Authorization.Authorizer, Services: s.services(), Dial: s.config.DialNode, Presence: s.presenceOf, Stop: s.closing.Done(),
		Metrics: s.config.Listener != nil, // nobody reads them without
		Enable:  s.config.EnableAdmissionPlugins, Disable: s.config.DisableAdmissionPlugins, File: s.config.AdmissionConfigFile, Version: Version,
		ServerID: c.APIServerID, Documents: s.documentVersions,
		NotReadySeconds: s.config.NotReadySeconds, UnreachableSeconds: s.config.UnreachableSeconds,
	})
	return c, err
}

// documentVersions are those of the documents of groups by their paths,
// "apis/apps/v1". Those of built-in groups never change.
func (s *Server) documentVersions() map[string]string {
	select {
	case <-s.assembled:
	case <-s.closing.Done(): // it never will be
		return nil
	}
	out := s.crd.Documents()
	for _, c := range []*restful.Container{s.generic.Handler.GoRestfulContainer, s.crd.GenericAPIServer.Handler.GoRestfulContainer} {
		for _, ws := range c.RegisteredWebServices() {
			out[strings.TrimPrefix(ws.RootPath(), "/")] = ""
		}
	}
	return out
}

func (s *Server) addHealth() error {
	etcdCheck := healthz.NamedCheck("etcd", func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		return s.store.Check(ctx)
	})
	if err := s.generic.AddHealthChecks(etcdCheck); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	return s.generic.AddReadyzChecks(healthz.NamedCheck("bootstrap", func(*http.Request) error {
		select {
		case <-s.ready:
			return nil
		default:
			return errors.New("bootstrap objects are not written yet")
		}
	}))
}

// Run serves until ctx ends, then finishes what is under way and closes the
// data. It returns an error when the data fails.
func (s *Server) Run(ctx context.Context) error {
	defer s.store.Stop()
	defer s.generic.Destroy()
	defer s.transport.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	if err := s.audit.Run(); err != nil {
		return err
	}
	defer s.audit.Stop()
	for _, f := range s.beside {
		group.Go(func() { f(ctx) })
	}
	s.informers.Start(ctx.Done())
	for _, p := range s.presences {
		group.Go(func() { s.watchPresence(ctx, p) })
	}
	group.Go(func() {
		if err := s.crd.Run(ctx, s.generic, s.documents); err != nil {
			cancel(err)
		}
	})
	if err := s.crd.Synced(ctx); err != nil {
		return err
	}
	group.Go(func() {
		if err := s.bootstrap(ctx); err != nil {
			cancel(fmt.Errorf("write bootstrap objects: %w", err))
			return
		}
		s.announce(ctx, sync.OnceFunc(func() { close(s.ready) }))
	})
	group.Go(func() {
		select {
		case <-s.store.Stopped():
			cancel(s.store.Why())
		case <-ctx.Done():
		}
	})
	stopped, _, err := s.serve(ctx, drainTimeout)
	if err != nil {
		cancel(err)
	}
	<-ctx.Done()
	s.close()
	s.generic.NonLongRunningRequestWaitGroup.Wait()
	if stopped != nil {
		<-stopped
	}
	s.transport.Close()
	group.Wait()
	s.informers.Shutdown()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// drainTimeout is how long a stop waits for requests under way; watches and
// other streams are ended at once.
const drainTimeout = 5 * time.Second

// storeOf gives a built-in resource's store.
func (s *Server) storeOf(group, resource string) *genericregistry.Store {
	return s.resources[schema.GroupResource{Group: group, Resource: resource}].Store
}

// podsOfNode asks the watch cache, which is indexed by node.
func (s *Server) podsOfNode(ctx context.Context, node string) ([]corev1.Pod, error) {
	return listPods(ctx, s.storeOf("", "pods"), node)
}
