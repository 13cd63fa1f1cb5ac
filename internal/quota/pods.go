package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	helpers "k8s.io/component-helpers/resource"
)

// podResources are what pods use of a quota, beside extended resources and
// huge pages.
var podResources = sets.New(
	"count/pods", corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
)

// mustSay are what each container of a pod must say when its namespace has a quota
// for it (upstream's validationSet).
var mustSay = sets.New(
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
)

// pods counts those that have not ended and what their containers ask for.
type pods struct {
	scoped
	list generic.ListFuncByNamespace
}

var _ quota.Evaluator = &pods{}

func (*pods) GroupResource() schema.GroupResource { return corev1.Resource("pods") }

// Handles says that resources of a pod change by creation and by a resize only,
// and that a deadline moves a pod to the quotas of scope Terminating.
func (*pods) Handles(a admission.Attributes) bool {
	switch a.GetSubresource() {
	case "":
		if a.GetOperation() == admission.Update {
			return Rescoped(a.GetOldObject(), a.GetObject())
		}
		return a.GetOperation() == admission.Create
	case "resize":
		return a.GetOperation() == admission.Update
	}
	return false
}

// Constraints refuses a pod that does not say how much it wants of what its
// namespace has a quota for.
func (*pods) Constraints(required []corev1.ResourceName, item runtime.Object) error {
	pod, ok := item.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("unexpected input object %v", item)
	}
	if helpers.IsPodLevelResourcesSet(pod) {
		return nil
	}
	need := sets.New(required...).Intersection(mustSay)
	missing := map[string][]string{} // what, and the containers that do not say it
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		said := used(c.Resources.Requests, c.Resources.Limits)
		for name := range need {
			if _, ok := said[name]; !ok {
				missing[string(name)] = append(missing[string(name)], c.Name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var texts []string
	for _, name := range sets.List(sets.KeySet(missing)) {
		slices.Sort(missing[name])
		texts = append(texts, name+" for: "+strings.Join(missing[name], ","))
	}
	return fmt.Errorf("must specify %s", strings.Join(texts, "; "))
}

func (p *pods) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(q, item, p.MatchingResources, p.in)
}

func (*pods) MatchingResources(input []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, name := range input {
		if podResources.Has(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
			strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) || extended(name) {
			out = append(out, name)
		}
	}
	return out
}

// extended is a name such as requests.example.com/gpu.
func extended(name corev1.ResourceName) bool {
	rest, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	return ok && strings.Contains(rest, "/") && !strings.Contains(rest, corev1.ResourceDefaultNamespacePrefix)
}

// Usage implements quota.Evaluator. A pod that has ended still is an object.
func (*pods) Usage(item runtime.Object) (corev1.ResourceList, error) {
	pod, ok := item.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("expect *corev1.Pod, got %T", item)
	}
	out := corev1.ResourceList{"count/pods": count(1)}
	if ended(pod, time.Now()) {
		return out, nil
	}
	o := helpers.PodResourcesOptions{UseStatusResources: true}
	for k, v := range used(helpers.PodRequests(pod, o), helpers.PodLimits(pod, o)) {
		out[k] = v
	}
	out[corev1.ResourcePods] = count(1)
	return out, nil
}

func (p *pods) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, p.list, p.in, p.Usage)
}

// ended pods use nothing: those that are done, and those that should be gone.
func ended(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return false
	}
	return now.After(pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
}

// used names requests and limits as quotas do.
func used(requests, limits corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for k, v := range requests {
		switch {
		case k == corev1.ResourceCPU || k == corev1.ResourceMemory || k == corev1.ResourceEphemeralStorage || strings.HasPrefix(string(k), corev1.ResourceHugePagesPrefix):
			out[k] = v
			out[corev1.DefaultResourceRequestsPrefix+k] = v
		case extended(corev1.DefaultResourceRequestsPrefix + k):
			out[corev1.DefaultResourceRequestsPrefix+k] = v
		}
	}
	for k, v := range limits {
		if k == corev1.ResourceCPU || k == corev1.ResourceMemory || k == corev1.ResourceEphemeralStorage {
			out["limits."+k] = v
		}
	}
	return out
}

// podInScope says whether a pod is of those that a scope selects.
func podInScope(s corev1.ScopedResourceSelectorRequirement, item runtime.Object) (bool, error) {
	pod, ok := item.(*corev1.Pod)
	if !ok {
		return false, fmt.Errorf("expect *corev1.Pod, got %T", item)
	}
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(s, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	}
	return false, nil
}

// terminating pods have a deadline.
func terminating(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// bestEffort pods say nothing of cpu and memory.
func bestEffort(pod *corev1.Pod) bool {
	says := func(r *corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, k := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if v := list[k]; !v.IsZero() {
					return true
				}
			}
		}
		return false
	}
	if r := pod.Spec.Resources; r != nil && says(r) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), func(c corev1.Container) bool { return says(&c.Resources) })
}

// crossesNamespaces says whether a pod's affinity is about pods elsewhere.
func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for _, w := range preferred {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		add(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		add(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool {
		return len(t.Namespaces) > 0 || t.NamespaceSelector != nil
	})
}
