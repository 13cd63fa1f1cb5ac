package allocation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Resources are those that one pod was allocated.
type Resources struct {
	// Pod limits the pod as a whole; nil if nothing does.
	Pod        *corev1.ResourceRequirements `json:"pod,omitempty"`
	Containers []Container                  `json:"containers,omitempty"`
}

// Container is one of a pod's, init containers among them.
type Container struct {
	Name      string                      `json:"name"`
	Resources corev1.ResourceRequirements `json:"resources"`
}

// of takes the resources that a pod's spec asks for. They are shared with it.
func of(pod *corev1.Pod) Resources {
	r := Resources{Pod: pod.Spec.Resources}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			r.Containers = append(r.Containers, Container{list[i].Name, list[i].Resources})
		}
	}
	return r
}

// matters says whether a pod has anything that a resize could change: one
// without CPU and memory, which is of the class BestEffort, stays so.
func matters(pod *corev1.Pod) bool {
	asks := func(r *corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if _, ok := list[name]; ok {
					return true
				}
			}
		}
		return false
	}
	if pod.Spec.Resources != nil && asks(pod.Spec.Resources) {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if asks(&list[i].Resources) {
				return true
			}
		}
	}
	return false
}

// apply gives the pod with these resources, and whether its spec asks for others.
// The pod itself is not changed.
func (r *Resources) apply(pod *corev1.Pod) (*corev1.Pod, bool) {
	if r.same(pod) {
		return pod, false
	}
	out := pod.DeepCopy()
	out.Spec.Resources = r.Pod.DeepCopy()
	r.each(out, func(c *corev1.Container, allocated *corev1.ResourceRequirements) bool {
		c.Resources = *allocated.DeepCopy()
		return true
	})
	return out, true
}

func (r *Resources) same(pod *corev1.Pod) bool {
	return equality.Semantic.DeepEqual(pod.Spec.Resources, r.Pod) && r.each(pod, func(c *corev1.Container, allocated *corev1.ResourceRequirements) bool {
		return equality.Semantic.DeepEqual(&c.Resources, allocated)
	})
}

// each calls f with every container of the pod that was allocated something, as
// long as it gives true, and says whether it always did.
func (r *Resources) each(pod *corev1.Pod, f func(*corev1.Container, *corev1.ResourceRequirements) bool) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for j := range r.Containers {
				if r.Containers[j].Name == list[i].Name && !f(&list[i], &r.Containers[j].Resources) {
					return false
				}
			}
		}
	}
	return true
}
