package ownership

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Claims is what should happen to the children an owner has or may have.
type Claims[T client.Object] struct {
	// Keep holds the children that match the selector.
	Keep []T

	// Adopt holds matching objects without a controller.
	Adopt []T

	// Release holds children that no longer match.
	Release []T
}

// Plan sorts owned objects and orphans. An owner that is being deleted neither
// adopts nor releases, so that the garbage collector sees its children as they
// were; terminating orphans are nobody's concern.
func Plan[T client.Object](owner metav1.Object, selector labels.Selector, owned, orphans []T) Claims[T] {
	var claims Claims[T]
	deleting := owner.GetDeletionTimestamp() != nil
	for _, obj := range owned {
		switch {
		case selector.Matches(labels.Set(obj.GetLabels())):
			claims.Keep = append(claims.Keep, obj)
		case !deleting:
			claims.Release = append(claims.Release, obj)
		}
	}
	if deleting || selector.Empty() {
		return claims
	}
	for _, obj := range orphans {
		if obj.GetDeletionTimestamp() == nil && selector.Matches(labels.Set(obj.GetLabels())) {
			claims.Adopt = append(claims.Adopt, obj)
		}
	}
	return claims
}

// CheckOwner asks the server itself, by reader, whether owner still exists and
// is not being deleted: an object must not be adopted on the word of a cache.
func CheckOwner(ctx context.Context, reader client.Reader, owner client.Object) error {
	fresh, ok := owner.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy of %T is no object", owner)
	}
	if err := reader.Get(ctx, client.ObjectKeyFromObject(owner), fresh); err != nil {
		return fmt.Errorf("read %s before adopting: %w", client.ObjectKeyFromObject(owner), err)
	}
	if fresh.GetUID() != owner.GetUID() {
		return fmt.Errorf("original %s is gone: got uid %s, wanted %s", client.ObjectKeyFromObject(owner), fresh.GetUID(), owner.GetUID())
	}
	if at := fresh.GetDeletionTimestamp(); at != nil {
		return fmt.Errorf("%s has just been deleted at %s", client.ObjectKeyFromObject(owner), at)
	}
	return nil
}

// ownerPatch is a strategic merge patch; the UID makes it fail on an object
// that has been deleted and created again under the same name.
type ownerPatch struct {
	Metadata ownerPatchMeta `json:"metadata"`
}

type ownerPatchMeta struct {
	UID             types.UID `json:"uid"`
	OwnerReferences []any     `json:"ownerReferences"`
	Finalizers      []string  `json:"finalizers,omitempty"`
}

// Adopt makes ref's object the controller of obj, and adds finalizers to obj
// with the same write. It reports false when obj no longer exists. obj is not
// changed; the returned object is as the server has it.
func Adopt[T client.Object](ctx context.Context, c client.Client, obj T, ref metav1.OwnerReference, finalizers ...string) (T, bool, error) {
	return patchOwner(ctx, c, obj, ref, finalizers...)
}

// Release removes the owner reference to owner from obj. It reports false when
// obj no longer exists. obj is not changed.
func Release[T client.Object](ctx context.Context, c client.Client, obj T, owner types.UID) (T, bool, error) {
	return patchOwner(ctx, c, obj, map[string]any{"$patch": "delete", "uid": owner})
}

func patchOwner[T client.Object](ctx context.Context, c client.Client, obj T, change any, finalizers ...string) (T, bool, error) {
	var none T
	body, err := json.Marshal(ownerPatch{ownerPatchMeta{UID: obj.GetUID(), OwnerReferences: []any{change}, Finalizers: finalizers}})
	if err != nil {
		return none, false, fmt.Errorf("encode owner patch: %w", err)
	}
	changed, ok := obj.DeepCopyObject().(T)
	if !ok {
		return none, false, fmt.Errorf("copy of %T is of another type", obj)
	}
	err = c.Patch(ctx, changed, client.RawPatch(types.StrategicMergePatchType, body))
	switch {
	case apierrors.IsNotFound(err):
		return none, false, nil
	case err != nil:
		return none, false, fmt.Errorf("change owner of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return changed, true, nil
}
