package flowcontrol

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api"
)

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{FlowSchema.Erase(), PriorityLevelConfiguration.Erase()}
}

// keepMetadata is what an update of a status does: only who manages the fields
// may change.
func keepMetadata(m, old *metav1.ObjectMeta) {
	managed := m.ManagedFields
	old.DeepCopyInto(m)
	m.ManagedFields = managed
}
