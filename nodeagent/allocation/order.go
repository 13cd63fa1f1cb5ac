package allocation

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/skiffcluster/skiff/nodeagent/resources"
)

// Wish is a pod that asks for other resources than it has.
type Wish struct {
	Pod       *corev1.Pod // as it asks
	Allocated *corev1.Pod
	// Since is when it began to wait; zero if it is new.
	Since time.Time
}

// Order sorts wishes as they are granted: those that ask for no more than they
// have, then by priority, guaranteed pods before others, and those first that
// have waited longest. As the kubelet's allocation manager.
func Order(wishes []Wish) {
	slices.SortStableFunc(wishes, func(a, b Wish) int {
		return cmp.Or(
			first(!a.Grows(), !b.Grows()),
			cmp.Compare(schedulinghelper.PodPriority(b.Pod), schedulinghelper.PodPriority(a.Pod)),
			first(guaranteed(a.Pod), guaranteed(b.Pod)),
			first(!a.Since.IsZero(), !b.Since.IsZero()),
			a.Since.Compare(b.Since),
			a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time),
			cmp.Compare(a.Pod.UID, b.Pod.UID),
		)
	})
}

// first puts what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func guaranteed(pod *corev1.Pod) bool { return resources.QOS(pod) == corev1.PodQOSGuaranteed }

// Grows says whether more is requested than was allocated.
func (w *Wish) Grows() bool {
	has := resourcehelper.PodRequests(w.Allocated, resourcehelper.PodResourcesOptions{})
	want := resourcehelper.PodRequests(w.Pod, resourcehelper.PodResourcesOptions{})
	return want.Cpu().Cmp(*has.Cpu()) > 0 || want.Memory().Cmp(*has.Memory()) > 0
}
