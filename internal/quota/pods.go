package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
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

// pods counts those that have not ended and what their containers ask for.
type pods struct{ list generic.ListFuncByNamespace }

var _ quota.Evaluator = &pods{}

func (*pods) GroupResource() schema.GroupResource { return corev1.Resource("pods") }

// Handles says that resources of a pod change by creation and by a resize only.
func (*pods) Handles(a admission.Attributes) bool {
	switch a.GetSubresource() {
	case "":
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
	need := sets.New(required...).Intersection(podResources)
	missing := map[string]sets.Set[string]{}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		said := used(c.Resources.Requests, c.Resources.Limits)
		for name := range need {
			if _, ok := said[name]; !ok && name != corev1.ResourcePods && name != "count/pods" {
				if missing[c.Name] == nil {
					missing[c.Name] = sets.New[string]()
				}
				missing[c.Name].Insert(string(name))
			}
		}
	}
	if r := pod.Spec.Resources; r != nil && len(missing) > 0 {
		for c, names := range missing {
			for name := range used(r.Requests, r.Limits) {
				names.Delete(string(name))
			}
			if names.Len() == 0 {
				delete(missing, c)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	// Grouped by what is missing, as upstream tells it: "cpu for: a,b".
	byName := map[string][]string{}
	for c, names := range missing {
		for name := range names {
			byName[name] = append(byName[name], c)
		}
	}
	var texts []string
	for _, name := range sets.List(sets.KeySet(byName)) {
		slices.Sort(byName[name])
		texts = append(texts, name+" for: "+strings.Join(byName[name], ","))
	}
	return fmt.Errorf("must specify %s", strings.Join(texts, "; "))
}

func (p *pods) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(q, item, p.MatchingResources, inScope)
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

func (*pods) MatchingScopes(item runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range scopes {
		ok, err := inScope(s, item)
		if err != nil {
			return out, fmt.Errorf("error on matching scope %v: %w", s, err)
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

func (*pods) UncoveredQuotaScopes(limited, matched []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range limited {
		if !slices.ContainsFunc(matched, func(m corev1.ScopedResourceSelectorRequirement) bool { return m.ScopeName == s.ScopeName }) {
			out = append(out, s)
		}
	}
	return out, nil
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
	return generic.CalculateUsageStats(o, p.list, inScope, p.Usage)
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

// inScope says whether a pod is of those that a scope selects.
func inScope(s corev1.ScopedResourceSelectorRequirement, item runtime.Object) (bool, error) {
	pod, ok := item.(*corev1.Pod)
	if !ok {
		return false, fmt.Errorf("expect *corev1.Pod, got %T", item)
	}
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0, nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return pod.Spec.ActiveDeadlineSeconds == nil || *pod.Spec.ActiveDeadlineSeconds < 0, nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return ofPriority(s, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	}
	return false, nil
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

func ofPriority(s corev1.ScopedResourceSelectorRequirement, class string) (bool, error) {
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	operator, ok := operators[s.Operator]
	if !ok {
		// A scope that is only named asks for any class.
		operator = selection.Exists
	}
	r, err := labels.NewRequirement(string(s.ScopeName), operator, s.Values)
	if err != nil {
		return false, fmt.Errorf("failed to parse and convert selector: %w", err)
	}
	set := labels.Set{}
	if class != "" {
		set[string(s.ScopeName)] = class
	}
	return r.Matches(set), nil
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
