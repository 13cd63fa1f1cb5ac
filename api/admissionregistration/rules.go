package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

const maxMatchConditions = 64

func defaultRule(r *admissionregistrationv1.Rule) {
	if r.Scope == nil {
		r.Scope = ptr.To(admissionregistrationv1.AllScopes)
	}
}

func defaultSelector(s **metav1.LabelSelector) {
	if *s == nil {
		*s = &metav1.LabelSelector{}
	}
}

// checkOperations checks which requests a rule is about.
func checkOperations(e *validate.Errors, r *admissionregistrationv1.RuleWithOperations, fld *field.Path) {
	p := fld.Child("operations")
	if len(r.Operations) == 0 {
		e.Required(p, "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionregistrationv1.OperationAll) {
		e.Invalid(p, r.Operations, "if '*' is present, must not specify other operations")
	}
	for i, op := range r.Operations {
		validate.Enum(e, p.Index(i), op, admissionregistrationv1.OperationAll, admissionregistrationv1.Connect,
			admissionregistrationv1.Create, admissionregistrationv1.Delete, admissionregistrationv1.Update)
	}
	checkRule(e, &r.Rule, fld)
}

func checkRule(e *validate.Errors, r *admissionregistrationv1.Rule, fld *field.Path) {
	groups, versions := fld.Child("apiGroups"), fld.Child("apiVersions")
	if len(r.APIGroups) == 0 {
		e.Required(groups, "")
	}
	if len(r.APIGroups) > 1 && slices.Contains(r.APIGroups, "*") {
		e.Invalid(groups, r.APIGroups, "if '*' is present, must not specify other API groups")
	}
	if len(r.APIVersions) == 0 {
		e.Required(versions, "")
	}
	if len(r.APIVersions) > 1 && slices.Contains(r.APIVersions, "*") {
		e.Invalid(versions, r.APIVersions, "if '*' is present, must not specify other API versions")
	}
	for i, v := range r.APIVersions {
		e.Text(versions.Index(i), v)
	}
	checkResources(e, r.Resources, fld.Child("resources"))
	if r.Scope != nil {
		validate.Enum(e, fld.Child("scope"), *r.Scope,
			admissionregistrationv1.AllScopes, admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope)
	}
}

// checkResources refuses names that others in the list cover.
func checkResources(e *validate.Errors, resources []string, fld *field.Path) {
	if len(resources) == 0 {
		e.Required(fld, "")
	}
	allSubresources, everyResource := sets.New[string](), sets.New[string]()
	// Upstream looks at the last resource without a subresource only.
	plain := false
	for i, name := range resources {
		if name == "" {
			e.Required(fld.Index(i), "")
			continue
		}
		resource, sub, isSub := strings.Cut(name, "/")
		if !isSub {
			plain = name != "*"
			continue
		}
		if allSubresources.Has(resource) {
			e.Invalid(fld.Index(i), name, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, name))
		}
		if everyResource.Has(sub) {
			e.Invalid(fld.Index(i), name, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, name))
		}
		if sub == "*" {
			allSubresources.Insert(resource)
		}
		if resource == "*" {
			everyResource.Insert(sub)
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		e.Invalid(fld, resources, "if '*/*' is present, must not specify other resources")
	}
	if slices.Contains(resources, "*") && plain {
		e.Invalid(fld, resources, "if '*' is present, must not specify other resources without subresources")
	}
}

// checkMatchConditions checks all of them but that their expressions compile.
func checkMatchConditions(e *validate.Errors, conditions []admissionregistrationv1.MatchCondition, fld *field.Path) {
	if len(conditions) > maxMatchConditions {
		e.TooMany(fld, len(conditions), maxMatchConditions)
	}
	names := sets.New[string]()
	for i, c := range conditions {
		p := fld.Index(i)
		e.Text(p.Child("expression"), strings.TrimSpace(c.Expression))
		if c.Name == "" {
			e.Required(p.Child("name"), "")
			continue
		}
		e.QualifiedName(p.Child("name"), c.Name)
		if names.Has(c.Name) {
			e.Duplicate(p.Child("name"), c.Name)
		}
		names.Insert(c.Name)
	}
}

func checkSelector(e *validate.Errors, s *metav1.LabelSelector, allowInvalid bool, fld *field.Path) {
	if s != nil {
		e.Add(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: allowInvalid}, fld))
	}
}

func checkFailurePolicy(e *validate.Errors, p admissionregistrationv1.FailurePolicyType, fld *field.Path) {
	validate.Enum(e, fld, p, admissionregistrationv1.Fail, admissionregistrationv1.Ignore)
}

func checkMatchPolicy(e *validate.Errors, p admissionregistrationv1.MatchPolicyType, fld *field.Path) {
	validate.Enum(e, fld, p, admissionregistrationv1.Equivalent, admissionregistrationv1.Exact)
}
