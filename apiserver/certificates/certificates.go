package certificates

import (
	"context"
	"errors"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiffcluster/skiff/api/certificates"
	"github.com/skiffcluster/skiff/apiserver/registry"
)

// Prepare makes new requests say who asks, and adds the subresource approval.
func Prepare(r *registry.Resource) {
	prepare := r.Kind.PrepareCreate
	r.Kind.PrepareCreate = func(ctx context.Context, obj runtime.Object) {
		prepare(ctx, obj)
		if csr, ok := obj.(*certificatesv1.CertificateSigningRequest); ok {
			identify(ctx, csr)
		}
	}
	stores := r.Stores()
	store := *stores[len(stores)-1]
	store.UpdateStrategy = verdict{store.UpdateStrategy}
	r.Storage["certificatesigningrequests/approval"] = &approval{&store}
}

// identify writes who asks, whatever the client claims.
func identify(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) {
	s := &csr.Spec
	s.Username, s.UID, s.Groups, s.Extra = "", "", nil, nil
	u, ok := request.UserFrom(ctx)
	if !ok {
		return
	}
	s.Username, s.UID, s.Groups = u.GetName(), u.GetUID(), u.GetGroups()
	for k, v := range u.GetExtra() {
		if s.Extra == nil {
			s.Extra = map[string]certificatesv1.ExtraValue{}
		}
		s.Extra[k] = v
	}
}

// verdict updates conditions of approval, and nothing else: the status's
// strategy with another check.
type verdict struct{ rest.RESTUpdateStrategy }

func (v verdict) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	now, ok := obj.(*certificatesv1.CertificateSigningRequest)
	before, was := old.(*certificatesv1.CertificateSigningRequest)
	if ok && was {
		conditions := now.Status.Conditions
		now.Status = before.Status
		now.Status.Conditions = conditions
	}
	v.RESTUpdateStrategy.PrepareForUpdate(ctx, obj, old)
}

func (verdict) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	now, ok := obj.(*certificatesv1.CertificateSigningRequest)
	before, was := old.(*certificatesv1.CertificateSigningRequest)
	if !ok || !was {
		return field.ErrorList{field.InternalError(nil, errNotRequest)}
	}
	return certificates.ValidateApproval(now, before)
}

var errNotRequest = errors.New("object is no certificate signing request")

// approval serves get, update and patch.
type approval struct{ store *genericregistry.Store }

func (a *approval) New() runtime.Object { return a.store.New() }
func (a *approval) Destroy()            {}

func (a *approval) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return a.store.Get(ctx, name, o)
}

func (a *approval) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return a.store.Update(ctx, name, info, create, update, false, o)
}

func (a *approval) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	all := map[fieldpath.APIVersion]*fieldpath.Set{}
	for version, fields := range a.store.GetResetFields() {
		all[version] = fields.Union(fieldpath.NewSet(fieldpath.MakePathOrDie("status", "certificate")))
	}
	return all
}
