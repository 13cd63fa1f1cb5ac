package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	flowrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/api"
)

// fairness divides what is served at a time among flows of requests
// (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/).
// Until it knows its configuration two plain limits stand for it.
type fairness struct {
	flowcontrol.Interface
	informers informers.SharedInformerFactory
	known     atomic.Bool
}

// divide makes the fairness of requests from the network. Our own rooms are not
// limited, so that there is none without a socket.
func (s *Server) divide() {
	s.beside = append(s.beside, s.keepFlows)
	if s.config.Listener == nil || s.config.NoPriorityAndFairness {
		return
	}
	f := &fairness{informers: informers.NewSharedInformerFactory(s.client, 0)}
	f.Interface = flowcontrol.New(f.informers, s.client.FlowcontrolV1(), s.config.MaxRequestsInFlight+s.config.MaxMutatingInFlight)
	s.fairness = f
}

// limit is the filter.
func (s *Server) limit(h http.Handler, c *genericapiserver.Config) http.Handler {
	plain := genericfilters.WithMaxInFlightLimit(h, c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight, c.LongRunningFunc)
	f := s.fairness
	if f == nil {
		return plain
	}
	counts := &counts{server: s, known: map[string]count{}}
	work := flowrequest.NewWorkEstimator(counts.of, f.GetInterestedWatchCount, flowrequest.DefaultWorkEstimatorConfig(), f.GetMaxSeats)
	fair := genericfilters.WithPriorityAndFairness(h, c.LongRunningFunc, f.Interface, work, c.RequestTimeout/4)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.known.Load() {
			fair.ServeHTTP(w, r)
		} else {
			plain.ServeHTTP(w, r)
		}
	})
}

// keepFlows writes the configuration that every cluster has, once a minute
// again, and begins to act by it.
func (s *Server) keepFlows(ctx context.Context) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return
	}
	s.ensureFlows(ctx)
	f := s.fairness
	if f == nil {
		return
	}
	genericfilters.StartPriorityAndFairnessWatermarkMaintenance(ctx.Done())
	f.informers.Start(ctx.Done())
	defer f.informers.Shutdown()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if err := f.Run(ctx.Done()); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Priority and fairness ended")
		}
	})
	flows := f.informers.Flowcontrol().V1()
	f.known.Store(cache.WaitForCacheSync(ctx.Done(), flows.FlowSchemas().Informer().HasSynced, flows.PriorityLevelConfigurations().Informer().HasSynced))
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.ensureFlows(ctx)
		}
	}
}

func (s *Server) ensureFlows(ctx context.Context) {
	for _, list := range [][]*flowcontrolv1.PriorityLevelConfiguration{bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations} {
		for _, p := range list {
			s.ensureInBackground(ctx, p.DeepCopy())
		}
	}
	for _, list := range [][]*flowcontrolv1.FlowSchema{bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas} {
		for _, f := range list {
			s.ensureInBackground(ctx, f.DeepCopy())
		}
	}
}

// mandatoryFlow says whether an object is always as the server wants it; users
// may change the others.
func mandatoryFlow(name string) bool {
	return name == flowcontrolv1.FlowSchemaNameExempt || name == flowcontrolv1.FlowSchemaNameCatchAll
}

// updatesFlow says whether the server keeps an object's spec: an annotation
// says so, and without it whether nobody has changed the spec yet.
func updatesFlow(name string, annotations map[string]string, generation int64) bool {
	if mandatoryFlow(name) {
		return true
	}
	switch annotations[flowcontrolv1.AutoUpdateAnnotationKey] {
	case "true":
		return true
	case "":
		return generation == 1
	}
	return false
}

// bringFlowUpToDate keeps a flow schema as it is to be.
func bringFlowUpToDate(f, want *flowcontrolv1.FlowSchema) {
	if updatesFlow(f.Name, f.Annotations, f.Generation) {
		f.Spec = want.Spec
	}
}

// bringLevelUpToDate keeps a priority level as it is to be. What exempt
// requests lend is for users to say.
func bringLevelUpToDate(p, want *flowcontrolv1.PriorityLevelConfiguration) {
	if !updatesFlow(p.Name, p.Annotations, p.Generation) {
		return
	}
	exempt := p.Spec.Exempt
	p.Spec = *want.Spec.DeepCopy()
	if p.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] == "false" && exempt != nil {
		p.Spec.Exempt = exempt
	}
}

// counts tells how many objects a resource has, which a list's share of the
// server is estimated by. A count is believed for a while.
type counts struct {
	server *Server
	mu     sync.Mutex
	known  map[string]count
}

type count struct {
	storage.Stats
	at time.Time
}

const believeCount = 10 * time.Second

// of counts the objects of a resource, "deployments.apps".
func (c *counts) of(resource string) (storage.Stats, error) {
	r := c.server.resources[schema.ParseGroupResource(resource)]
	if r == nil {
		return storage.Stats{}, flowrequest.ObjectCountNotFoundErr
	}
	c.mu.Lock()
	n, ok := c.known[resource]
	c.mu.Unlock()
	if ok && time.Since(n.at) < believeCount {
		return n.Stats, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stats, err := r.Store.Storage.Storage.Stats(ctx)
	if err != nil {
		return storage.Stats{}, flowrequest.ObjectCountStaleErr
	}
	c.mu.Lock()
	c.known[resource] = count{stats, time.Now()}
	c.mu.Unlock()
	return stats, nil
}

// keepMandatory makes the kinds of flow control refuse other specs for the
// objects that are always the same.
func keepMandatory(k *api.Kind) {
	if k.GVK.Group != flowcontrolv1.GroupName {
		return
	}
	validate := k.Validate
	k.Validate = func(ctx context.Context, obj runtime.Object) field.ErrorList {
		errs := validate(ctx, obj)
		fld := field.NewPath("spec")
		switch o := obj.(type) {
		case *flowcontrolv1.FlowSchema:
			for _, want := range bootstrap.MandatoryFlowSchemas {
				if o.Name == want.Name && !apiequality.Semantic.DeepEqual(o.Spec, want.Spec) {
					errs = append(errs, field.Invalid(fld, o.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", o.Name)))
				}
			}
		case *flowcontrolv1.PriorityLevelConfiguration:
			for _, want := range bootstrap.MandatoryPriorityLevelConfigurations {
				if o.Name != want.Name {
					continue
				}
				have, fixed, but := *o.Spec.DeepCopy(), *want.Spec.DeepCopy(), ""
				if o.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
					have.Exempt, fixed.Exempt, but = nil, nil, " except the 'spec.exempt' field"
				}
				if !apiequality.Semantic.DeepEqual(have, fixed) {
					errs = append(errs, field.Invalid(fld, o.Spec, fmt.Sprintf("spec of '%s'%s must equal the fixed value", o.Name, but)))
				}
			}
		}
		return errs
	}
}
