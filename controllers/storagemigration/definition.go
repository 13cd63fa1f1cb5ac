package storagemigration

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// markDefinition says on a custom resource's definition that its objects are
// being migrated, and as of which generation.
func (r *Reconciler) markDefinition(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) error {
	d, err := r.definition(ctx, m)
	if d == nil || err != nil {
		return err
	}
	return r.applyDefinition(ctx, d, apiextensionsv1.ConditionTrue, "MigrationRunning", fmt.Sprintf("Migration %s is running", m.Name), nil)
}

// releaseDefinition says how it ended. Where the definition has not changed
// meanwhile, nothing is stored in another version than the one of storage.
func (r *Reconciler) releaseDefinition(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) error {
	d, err := r.definition(ctx, m)
	if d == nil || err != nil {
		return err
	}
	reason, message, stored := planRelease(d, is(m, storagemigrationv1.MigrationSucceeded))
	return r.applyDefinition(ctx, d, apiextensionsv1.ConditionFalse, reason, message, stored)
}

func planRelease(d *apiextensionsv1.CustomResourceDefinition, succeeded bool) (reason, message string, stored []string) {
	if !succeeded {
		return "MigrationFailed", "The migration has failed", nil
	}
	reason, message = "MigrationSucceeded", "The migration has succeeded but the stored versions have not been updated due to a generation mismatch"
	for _, c := range d.Status.Conditions {
		if c.Type != apiextensionsv1.StorageMigrating || c.ObservedGeneration != d.Generation {
			continue
		}
		message = "The migration has succeeded and the stored versions have been updated"
		for _, v := range d.Spec.Versions {
			if v.Storage {
				stored = []string{v.Name}
			}
		}
	}
	return reason, message, stored
}

// definition is nil where the resource is not a custom one.
func (r *Reconciler) definition(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) (*apiextensionsv1.CustomResourceDefinition, error) {
	raw := newDefinition(m.Spec.Resource.Resource + "." + m.Spec.Resource.Group)
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(raw), raw); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get definition %s: %w", raw.GetName(), err)
	}
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, d); err != nil {
		return nil, fmt.Errorf("read definition %s: %w", raw.GetName(), err)
	}
	return d, nil
}

func newDefinition(name string) *unstructured.Unstructured {
	d := &unstructured.Unstructured{}
	d.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	d.SetName(name)
	return d
}

func (r *Reconciler) applyDefinition(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition, status apiextensionsv1.ConditionStatus, reason, message string, stored []string) error {
	said := map[string]any{"conditions": []any{map[string]any{
		"type": apiextensionsv1.StorageMigrating, "status": status, "reason": reason, "message": message,
		"observedGeneration": d.Generation, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	}}}
	if stored != nil {
		said["storedVersions"] = stored
	}
	object := newDefinition(d.Name)
	object.Object["status"] = said
	patch, err := json.Marshal(object.Object)
	if err == nil {
		err = r.Client.Status().Patch(ctx, object, client.RawPatch(types.ApplyPatchType, patch), client.FieldOwner(runnerManager), client.ForceOwnership)
	}
	if err != nil {
		return fmt.Errorf("write status of definition %s: %w", d.Name, err)
	}
	return nil
}
