package storagemigration

import (
	"context"
	"fmt"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pageSize bounds what is read at a time; 500 is client-go's.
const pageSize = 500

// migrate writes all objects again that there are now: later ones are stored
// as they shall be. An error is worth another try, a verdict is not.
func (r *Reconciler) migrate(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) (verdict, error) {
	gvk, err := r.Client.RESTMapper().KindFor(resourceOf(m))
	if apimeta.IsNoMatchError(err) {
		return verdict{}, errNotServed
	} else if err != nil {
		return verdict{}, fmt.Errorf("look up resource %s: %w", m.Spec.Resource.String(), err)
	}
	options := []client.ListOption{client.Limit(pageSize)}
	for next := ""; ; {
		page := &metav1.PartialObjectMetadataList{}
		page.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := r.live.List(ctx, page, append(options, client.Continue(next))...); err != nil {
			return r.failed(ctx, m, fmt.Errorf("list %s: %w", m.Spec.Resource.String(), err))
		}
		if m.Status.ResourceVersion == "" {
			m.Status.ResourceVersion = page.ResourceVersion
			if err := r.writeStatus(ctx, m); err != nil {
				return verdict{}, err
			}
		}
		for i := range page.Items {
			if err := r.rewrite(ctx, gvk, &page.Items[i]); err != nil {
				return r.failed(ctx, m, err)
			}
		}
		if next = page.Continue; next == "" {
			return verdict{}, nil
		}
	}
}

// rewrite patches nothing, which makes the server store an object anew where
// what is stored differs. Under its version that is refused when it has been
// written or deleted meanwhile, and then nothing is left to do. An apply, which
// upstream sends, would need the right to create every resource.
func (r *Reconciler) rewrite(ctx context.Context, gvk schema.GroupVersionKind, object *metav1.PartialObjectMetadata) error {
	object.SetGroupVersionKind(gvk)
	nothing := fmt.Sprintf(`{"metadata":{"resourceVersion":%q}}`, object.ResourceVersion)
	err := r.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(nothing)), client.FieldOwner(migratorManager))
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write %s %s again: %w", gvk.Kind, klog.KObj(object), err)
	}
	return nil
}

// failed tells what passes by itself from what does not.
func (r *Reconciler) failed(ctx context.Context, m *storagemigrationv1.StorageVersionMigration, err error) (verdict, error) {
	if ctx.Err() != nil || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsResourceExpired(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		return verdict{}, err
	}
	klog.FromContext(ctx).Error(err, "Migration has failed", "StorageVersionMigration", klog.KObj(m))
	return verdict{"migration encountered unhandled error"}, nil
}
