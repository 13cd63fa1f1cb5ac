package admissionregistration

import (
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
	for _, list := range []struct {
		field, others string
		values        []string
		shown         any
	}{
		{"operations", "operations", texts(r.Operations), r.Operations},
		{"apiGroups", "API groups", r.APIGroups, r.APIGroups},
		{"apiVersions", "API versions", r.APIVersions, r.APIVersions},
	} {
		p := fld.Child(list.field)
		if len(list.values) == 0 {
			e.Required(p, "")
		}
		if len(list.values) > 1 && slices.Contains(list.values, "*") {
			e.Invalid(p, list.shown, "if '*' is present, must not specify other "+list.others)
		}
		for i, v := range list.values {
			switch list.field {
			case "operations":
				validate.Enum(e, p.Index(i), r.Operations[i], admissionregistrationv1.OperationAll, admissionregistrationv1.Connect,
					admissionregistrationv1.Create, admissionregistrationv1.Delete, admissionregistrationv1.Update)
			case "apiVersions":
				e.Text(p.Index(i), v)
			}
		}
	}
	checkResources(e, r.Resources, fld.Child("resources"))
	if r.Scope != nil {
		validate.Enum(e, fld.Child("scope"), *r.Scope,
			admissionregistrationv1.AllScopes, admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope)
	}
}

func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// checkResources refuses names that others in the list cover: "pods/*" covers
// "pods/log" when it comes before, and "*" covers what has no subresource.
func checkResources(e *validate.Errors, resources []string, fld *field.Path) {
	if len(resources) == 0 {
		e.Required(fld, "")
	}
	plain := false // of the last name without a subresource, as on Kubernetes
	for i, name := range resources {
		resource, sub, isSub := strings.Cut(name, "/")
		switch {
		case name == "":
			e.Required(fld.Index(i), "")
			continue
		case !isSub:
			plain = name != "*"
			continue
		}
		for _, covers := range []string{resource + "/*", "*/" + sub} {
			if slices.Contains(resources[:i], covers) {
				e.Invalidf(fld.Index(i), name, "if '%s' is present, must not specify %s", covers, name)
			}
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		e.Invalid(fld, resources, "if '*/*' is present, must not specify other resources")
	}
	if plain && slices.Contains(resources, "*") {
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
