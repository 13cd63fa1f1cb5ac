package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// Names of the lists of affinity terms.
const (
	required  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferred = "preferredDuringSchedulingIgnoredDuringExecution"
)

func (s *podSpec) checkAffinity(fld *field.Path) {
	a := s.spec.Affinity
	if a == nil {
		return
	}
	if n := a.NodeAffinity; n != nil {
		p := fld.Child("nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			s.Add(ValidateNodeSelector(r, p.Child(required)))
		}
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			s.checkWeight(t.Weight, p.Child(preferred).Index(i))
			// Labels that no node can have do no harm in a preference.
			checkNodeSelectorTerm(&s.Errors, &t.Preference, p.Child(preferred).Index(i).Child("preference"), false)
		}
	}
	if t := a.PodAffinity; t != nil {
		s.checkPodTerms(t.RequiredDuringSchedulingIgnoredDuringExecution,
			t.PreferredDuringSchedulingIgnoredDuringExecution, fld.Child("podAffinity"))
	}
	if t := a.PodAntiAffinity; t != nil {
		s.checkPodTerms(t.RequiredDuringSchedulingIgnoredDuringExecution,
			t.PreferredDuringSchedulingIgnoredDuringExecution, fld.Child("podAntiAffinity"))
	}
}

func (s *podSpec) checkWeight(w int32, p *field.Path) {
	if w < 1 || w > 100 {
		s.Invalid(p.Child("weight"), w, "must be in the range 1-100")
	}
}

// ValidateNodeSelector checks which nodes may be chosen; persistent volumes
// choose nodes in the same way.
func ValidateNodeSelector(selector *corev1.NodeSelector, fld *field.Path) field.ErrorList {
	var e validate.Errors
	p := fld.Child("nodeSelectorTerms")
	if len(selector.NodeSelectorTerms) == 0 {
		e.Required(p, "must have at least one node selector term")
	}
	for i := range selector.NodeSelectorTerms {
		checkNodeSelectorTerm(&e, &selector.NodeSelectorTerms[i], p.Index(i), true)
	}
	return e.List()
}

// checkNodeSelectorTerm checks one term. strict also checks that the values
// could be values of labels.
func checkNodeSelectorTerm(e *validate.Errors, t *corev1.NodeSelectorTerm, p *field.Path, strict bool) {
	for i := range t.MatchExpressions {
		checkNodeLabels(e, &t.MatchExpressions[i], p.Child("matchExpressions").Index(i), strict)
	}
	for i := range t.MatchFields {
		checkNodeFields(e, &t.MatchFields[i], p.Child("matchFields").Index(i))
	}
}

func checkNodeLabels(e *validate.Errors, r *corev1.NodeSelectorRequirement, p *field.Path, strict bool) {
	values := p.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			e.Required(values, "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			e.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			e.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	e.Add(metav1validation.ValidateLabelName(r.Key, p.Child("key")))
	if !strict {
		return
	}
	for i, v := range r.Values {
		e.Messages(values.Index(i), v, validation.IsValidLabelValue(v))
	}
}

// checkNodeFields checks a choice by a node's fields, of which there is one:
// its name.
func checkNodeFields(e *validate.Errors, r *corev1.NodeSelectorRequirement, p *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			e.Required(p.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != metav1.ObjectNameField {
		e.Invalid(p.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for i, v := range r.Values {
		e.Name(p.Child("values").Index(i), v, apivalidation.NameIsDNSSubdomain)
	}
}

func (s *podSpec) checkPodTerms(must []corev1.PodAffinityTerm, want []corev1.WeightedPodAffinityTerm, fld *field.Path) {
	for i := range must {
		s.checkPodTerm(&must[i], fld.Child(required).Index(i))
	}
	for i := range want {
		p := fld.Child(preferred).Index(i)
		s.checkWeight(want[i].Weight, p)
		s.checkPodTerm(&want[i].PodAffinityTerm, p.Child("podAffinityTerm"))
	}
}

func (s *podSpec) checkPodTerm(t *corev1.PodAffinityTerm, p *field.Path) {
	var strict metav1validation.LabelSelectorValidationOptions
	s.Add(metav1validation.ValidateLabelSelector(t.LabelSelector, strict, p.Child("labelSelector")))
	s.Add(metav1validation.ValidateLabelSelector(t.NamespaceSelector, strict, p.Child("namespaceSelector")))
	for _, n := range t.Namespaces {
		s.Name(p.Child("namespace"), n, apivalidation.ValidateNamespaceName)
	}
	s.checkLabelKeys(p, t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector)
	if t.TopologyKey == "" {
		s.Required(p.Child("topologyKey"), "can not be empty")
	}
	s.Add(metav1validation.ValidateLabelName(t.TopologyKey, p.Child("topologyKey")))
}

// checkLabelKeys checks labels whose values come from the pod. When a pod is
// made they become requirements of the selector (see mergeLabelKeys), so that
// a key that the selector has twice was there before.
func (s *podSpec) checkLabelKeys(p *field.Path, match, mismatch []string, selector *metav1.LabelSelector) {
	for _, list := range []struct {
		name string
		keys []string
	}{{"matchLabelKeys", match}, {"mismatchLabelKeys", mismatch}} {
		at := p.Child(list.name)
		if len(list.keys) > 0 && selector == nil {
			s.Forbidden(at, "must not be specified when labelSelector is not set")
			continue
		}
		for i, key := range list.keys {
			s.Add(metav1validation.ValidateLabelName(key, at.Index(i)))
		}
	}
	if selector != nil {
		s.checkKeysOnce(p, match, selector)
	}
	for i, key := range match {
		for _, other := range mismatch {
			if key == other {
				s.Invalid(p.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
				break
			}
		}
	}
}

func (s *podSpec) checkKeysOnce(p *field.Path, match []string, selector *metav1.LabelSelector) {
	index := map[string]int{}
	for i, key := range match {
		index[key] = i
	}
	seen := sets.KeySet(selector.MatchLabels)
	for _, r := range selector.MatchExpressions {
		if i, merged := index[r.Key]; merged && seen.Has(r.Key) {
			s.Invalid(p.Index(i), r.Key, "exists in both matchLabelKeys and labelSelector")
		}
		seen.Insert(r.Key)
	}
}

func (s *podSpec) checkTopologySpread(fld *field.Path) {
	all := s.spec.TopologySpreadConstraints
	for i, c := range all {
		p := fld.Index(i)
		s.Positive(p.Child("maxSkew"), int64(c.MaxSkew))
		if c.TopologyKey == "" {
			s.Required(p.Child("topologyKey"), "can not be empty")
		}
		validate.Enum(&s.Errors, p.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		for _, other := range all[i+1:] {
			if other.TopologyKey == c.TopologyKey && other.WhenUnsatisfiable == c.WhenUnsatisfiable {
				s.Duplicate(p.Child("{topologyKey, whenUnsatisfiable}"), "{"+c.TopologyKey+", "+string(c.WhenUnsatisfiable)+"}")
				break
			}
		}
		if m := c.MinDomains; m != nil {
			s.Positive(p.Child("minDomains"), int64(*m))
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				s.Invalidf(p.Child("minDomains"), *m, "can only use minDomains if whenUnsatisfiable=%s, not %s",
					corev1.DoNotSchedule, c.WhenUnsatisfiable)
			}
		}
		s.checkInclusion(p.Child("nodeAffinityPolicy"), c.NodeAffinityPolicy)
		s.checkInclusion(p.Child("nodeTaintsPolicy"), c.NodeTaintsPolicy)
		s.checkLabelKeys(p, c.MatchLabelKeys, nil, c.LabelSelector)
		s.Add(metav1validation.ValidateLabelSelector(c.LabelSelector,
			metav1validation.LabelSelectorValidationOptions{}, p.Child("labelSelector")))
	}
}

func (s *podSpec) checkInclusion(p *field.Path, policy *corev1.NodeInclusionPolicy) {
	if policy != nil {
		validate.Enum(&s.Errors, p, *policy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	}
}

func (s *podSpec) checkTolerations(fld *field.Path) {
	s.Add(ValidateTolerations(s.spec.Tolerations, fld))
}

// ValidateTolerations checks which taints a pod tolerates; runtime classes
// have tolerations as well.
func ValidateTolerations(tolerations []corev1.Toleration, fld *field.Path) field.ErrorList {
	var e validate.Errors
	for i, t := range tolerations {
		p := fld.Index(i)
		if t.Key != "" {
			e.Add(metav1validation.ValidateLabelName(t.Key, p.Child("key")))
		} else if t.Operator != corev1.TolerationOpExists {
			e.Invalid(p.Child("operator"), t.Operator,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			e.Invalid(p.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
				e.Invalid(p.Child("operator"), t.Value, strings.Join(msgs, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				e.Invalid(p.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			// Known but not switched on: TaintTolerationComparisonOperators is alpha.
			e.Add(field.ErrorList{field.NotSupported(p.Child("operator"), t.Operator, []corev1.TolerationOperator{
				corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt,
			})})
		default:
			validate.Enum(&e, p.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)
		}
		if t.Effect != "" {
			checkTaintEffect(&e, t.Effect, p.Child("effect"))
		}
	}
	return e.List()
}

func checkTaintEffect(e *validate.Errors, effect corev1.TaintEffect, p *field.Path) {
	validate.Enum(e, p, effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}
