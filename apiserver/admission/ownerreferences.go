package admission

import (
	"context"
	"fmt"
	"sync"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

// ownerReferences lets only those say who owns an object who may delete it, and
// only those have it block its owner's deletion who may change the owner's
// finalizers: both come to the same.
type ownerReferences struct {
	createOrUpdate
	authorizer authorizer.UnconditionalAuthorizer
	mapper     func() meta.RESTMapper
}

func newOwnerReferences(c Config) (admission.Interface, error) {
	return &ownerReferences{authorizer: c.Authorizer, mapper: sync.OnceValue(func() meta.RESTMapper {
		return restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Client.Discovery()))
	})}, nil
}

// Validate implements admission.ValidationInterface.
func (p *ownerReferences) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() == (schema.GroupResource{Resource: "pods"}) && a.GetSubresource() == "status" {
		return nil
	}
	owners, before := ownersOf(a.GetObject()), ownersOf(a.GetOldObject())
	if apiequality.Semantic.DeepEqual(owners, before) {
		return nil
	}
	if a.GetOperation() != admission.Create {
		decision, reason, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: "delete", Namespace: a.GetNamespace(), Name: a.GetName(), ResourceRequest: true,
			APIGroup: a.GetResource().Group, APIVersion: a.GetResource().Version, Resource: a.GetResource().Resource, Subresource: a.GetSubresource(),
		})
		if decision != authorizer.DecisionAllow {
			return admission.NewForbidden(a, fmt.Errorf("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err)) //nolint:errorlint // as Kubernetes prints it
		}
	}
	blocking := newlyBlocking(owners, before)
	if len(blocking) == 0 || p.mayFinalize(ctx, a, "*", meta.RESTMapping{Resource: schema.GroupVersionResource{Group: "*", Version: "*", Resource: "*"}, Scope: meta.RESTScopeRoot}) == nil {
		return nil
	}
	for _, ref := range blocking {
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		var mappings []*meta.RESTMapping
		if err == nil {
			mappings, err = p.mapper().RESTMappings(schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, gv.Version)
		}
		if err != nil {
			return admission.NewForbidden(a, fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: %w", ref.APIVersion, ref.Kind, err))
		}
		for _, m := range mappings {
			if err := p.mayFinalize(ctx, a, ref.Name, *m); err != nil {
				return admission.NewForbidden(a, err)
			}
		}
	}
	return nil
}

// mayFinalize tells why the user may not change an owner's finalizers.
func (p *ownerReferences) mayFinalize(ctx context.Context, a admission.Attributes, name string, m meta.RESTMapping) error {
	r := authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: "update", Name: name, ResourceRequest: true,
		APIGroup: m.Resource.Group, APIVersion: m.Resource.Version, Resource: m.Resource.Resource, Subresource: "finalizers",
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		r.Namespace = a.GetNamespace()
	}
	decision, reason, err := p.authorizer.Authorize(ctx, r)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	return fmt.Errorf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err) //nolint:errorlint // as Kubernetes prints it
}

func ownersOf(obj runtime.Object) []metav1.OwnerReference {
	if m, err := meta.Accessor(obj); err == nil {
		return m.GetOwnerReferences()
	}
	return nil
}

// newlyBlocking are the owners whose deletion waits for the object, and did not
// before.
func newlyBlocking(owners, before []metav1.OwnerReference) []metav1.OwnerReference {
	blocks := func(r metav1.OwnerReference) bool { return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion }
	was := map[string]bool{}
	for _, r := range before {
		was[string(r.UID)] = blocks(r)
	}
	var out []metav1.OwnerReference
	for _, r := range owners {
		if blocks(r) && !was[string(r.UID)] {
			out = append(out, r)
		}
	}
	return out
}
