package garbage

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// ownerKey names an owner as references do, without the version.
type ownerKey struct {
	kind            schema.GroupKind
	namespace, name string
	uid             types.UID
}

// remember notes that an object is gone, as its dependents name it.
func (r *Reconciler) remember(o *object) {
	r.gone.Add(ownerKey{
		kind:      schema.GroupKind{Group: o.resource.Group, Kind: o.kind},
		namespace: o.namespace, name: o.name, uid: o.uid,
	}, nil)
}

// verify finds out whether an owner exists. The graph is believed when it shows
// the owner: should that be out of date, the owner's deletion is on its way and
// starts another look. Absence is asked for at the API server. unseen is set
// when the owner exists and is not in the graph.
func (r *Reconciler) verify(ctx context.Context, o *object, reference metav1.OwnerReference) (v verdict, unseen bool, err error) {
	owner := r.graph.get(reference.UID)
	if owner != nil && owner.is(reference, o.namespace) {
		if owner.waitsForDependents() {
			return waiting, false, nil
		}
		return solid, false, nil
	}
	if _, let := r.orphaned.Get(reference.UID); let && owner == nil {
		return released, false, nil
	}
	gv, err := schema.ParseGroupVersion(reference.APIVersion)
	if err != nil {
		return solid, false, fmt.Errorf("owner reference of %s: %w", klog.KRef(o.namespace, o.name), err)
	}
	kind := gv.WithKind(reference.Kind)
	where, served := r.monitors.mapping(kind)
	if !served {
		// It may be served soon, or not be served for a while. Upstream does
		// not collect the dependents of unknown kinds either.
		r.monitors.refresh()
		return solid, false, fmt.Errorf("owner of %s: no kind %s is served", klog.KRef(o.namespace, o.name), kind)
	}
	if owner != nil && owner.namespace != "" && owner.namespace != o.namespace {
		r.reportInvalidNamespace(o, reference)
	}
	if where.namespaced && o.namespace == "" {
		// An object of the cluster cannot say which namespace is meant; it is
		// left alone.
		return solid, false, nil
	}
	key := ownerKey{kind: kind.GroupKind(), name: reference.Name, uid: reference.UID}
	if where.namespaced {
		key.namespace = o.namespace
	}
	if _, known := r.gone.Get(key); known {
		return absent, false, nil
	}
	meta, err := r.metadata.Resource(where.resource).Namespace(key.namespace).Get(ctx, reference.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && meta.UID != reference.UID:
		r.gone.Add(key, nil)
		return absent, false, nil
	case err != nil:
		return solid, false, fmt.Errorf("get owner %s %s: %w", where.resource.GroupResource(), klog.KRef(key.namespace, reference.Name), err)
	case newObject(where.resource, reference.Kind, meta).waitsForDependents():
		return waiting, owner == nil, nil
	}
	return solid, owner == nil, nil
}
