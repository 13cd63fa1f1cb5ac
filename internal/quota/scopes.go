package quota

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// scoped is the part of an evaluator about scopes.
type scoped struct {
	// in says whether an object is of those that a scope selects.
	in generic.MatchesScopeFunc
}

// MatchingScopes are those of scopes that select an object.
func (m scoped) MatchingScopes(item runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range scopes {
		ok, err := m.in(s, item)
		if err != nil {
			return out, fmt.Errorf("error on matching scope %v: %w", s, err)
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// UncoveredQuotaScopes are those of limited that no quota is about.
func (scoped) UncoveredQuotaScopes(limited, matched []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range limited {
		if !slices.ContainsFunc(matched, func(m corev1.ScopedResourceSelectorRequirement) bool { return m.ScopeName == s.ScopeName }) {
			out = append(out, s)
		}
	}
	return out, nil
}

// Rescoped tells whether an update took an object from quotas of one scope to those
// of another: a pod that got a deadline, a claim whose VolumeAttributesClass is
// another.
func Rescoped(before, after runtime.Object) bool {
	switch b := before.(type) {
	case *corev1.Pod:
		a, ok := after.(*corev1.Pod)
		return ok && terminating(b) != terminating(a)
	case *corev1.PersistentVolumeClaim:
		a, ok := after.(*corev1.PersistentVolumeClaim)
		return ok && !attributesClasses(b).Equal(attributesClasses(a))
	}
	return false
}

// selects tells whether a scope selects an object of any of classes.
func selects(s corev1.ScopedResourceSelectorRequirement, classes ...string) (bool, error) {
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
	sets := []labels.Set{}
	for _, class := range classes {
		if class != "" {
			sets = append(sets, labels.Set{string(s.ScopeName): class})
		}
	}
	if len(sets) == 0 {
		return r.Matches(labels.Set{}), nil
	}
	return slices.ContainsFunc(sets, func(set labels.Set) bool { return r.Matches(set) }), nil
}
