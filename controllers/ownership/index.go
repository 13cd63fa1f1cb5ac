package ownership

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// field is the name of the index; orphan is its value for objects that nobody
// controls, which no UID can be.
const (
	field  = "controllerUID"
	orphan = "none"
)

// Index makes the manager's cache find objects of obj's kind by their
// controller. Several controllers may ask for the same kind.
func Index(ctx context.Context, mgr ctrl.Manager, obj client.Object) error {
	informer, err := mgr.GetCache().GetInformer(ctx, obj)
	if err != nil {
		return fmt.Errorf("get informer of %T: %w", obj, err)
	}
	if indexed, ok := informer.(interface{ GetIndexer() toolscache.Indexer }); ok {
		if _, exists := indexed.GetIndexer().GetIndexers()["field:"+field]; exists {
			return nil
		}
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, obj, field, byController); err != nil {
		return fmt.Errorf("index %T by controller: %w", obj, err)
	}
	return nil
}

func byController(obj client.Object) []string {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		return []string{string(ref.UID)}
	}
	return []string{orphan}
}

// List fills list with the objects in namespace that owner controls. They are
// the cache's own: they must not be changed.
func List(ctx context.Context, c client.Reader, list client.ObjectList, namespace string, owner types.UID) error {
	return listBy(ctx, c, list, namespace, string(owner))
}

// ListOrphans fills list with the objects in namespace that nobody controls.
// They are the cache's own: they must not be changed.
func ListOrphans(ctx context.Context, c client.Reader, list client.ObjectList, namespace string) error {
	return listBy(ctx, c, list, namespace, orphan)
}

func listBy(ctx context.Context, c client.Reader, list client.ObjectList, namespace, value string) error {
	err := c.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list %T in %s by controller: %w", list, namespace, err)
	}
	return nil
}
