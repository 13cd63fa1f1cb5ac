package flowcontrol

import (
	"cmp"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	defaultPrecedence = 1000
	// exemptPrecedence is for the one schema that comes before all others.
	exemptPrecedence = 1
)

// verbs are what rules may name beside all of them.
var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

// FlowSchema says which requests are one flow, and how important it is.
var FlowSchema = api.Of[flowcontrolv1.FlowSchema]{
	Group: flowcontrolv1.GroupName, Version: "v1", Kind: "FlowSchema", Resource: "flowschemas",
	ClusterScoped: true,
	Generation:    true,

	Default: func(f *flowcontrolv1.FlowSchema) {
		if f.Spec.MatchingPrecedence == 0 {
			f.Spec.MatchingPrecedence = defaultPrecedence
		}
	},
	Validate: validateFlowSchema,
	Status: &api.Status[flowcontrolv1.FlowSchema]{
		KeepMetadata:  true,
		PrepareUpdate: func(f, old *flowcontrolv1.FlowSchema) { keepMetadata(&f.ObjectMeta, &old.ObjectMeta) },
		Validate:      func(f, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateFlowSchemaStatus(f) },
	},

	Order: func(a, b *flowcontrolv1.FlowSchema) int {
		return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), cmp.Compare(a.Name, b.Name))
	},
	Columns: []api.Column[flowcontrolv1.FlowSchema]{
		print.Name[flowcontrolv1.FlowSchema](),
		{
			Name: "PriorityLevel", Description: flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"],
			Value: func(f *flowcontrolv1.FlowSchema) any { return f.Spec.PriorityLevelConfiguration.Name },
		},
		{
			Name: "MatchingPrecedence", Description: flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()["matchingPrecedence"],
			Value: func(f *flowcontrolv1.FlowSchema) any { return int64(f.Spec.MatchingPrecedence) },
		},
		{
			Name: "DistinguisherMethod", Description: flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()["distinguisherMethod"],
			Value: func(f *flowcontrolv1.FlowSchema) any {
				if f.Spec.DistinguisherMethod == nil {
					return print.None
				}
				return string(f.Spec.DistinguisherMethod.Type)
			},
		},
		print.Age[flowcontrolv1.FlowSchema](),
		{
			Name: "MissingPL", Description: "references a broken or non-existent PriorityLevelConfiguration",
			Value: func(f *flowcontrolv1.FlowSchema) any {
				for _, c := range f.Status.Conditions {
					if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
						return string(c.Status)
					}
				}
				return "?"
			},
		},
	},
}

func validateFlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	var e validate.Errors
	spec, fld := &f.Spec, field.NewPath("spec")
	precedence := fld.Child("matchingPrecedence")
	if spec.MatchingPrecedence <= 0 {
		e.Invalid(precedence, spec.MatchingPrecedence, "must be a positive value")
	}
	if spec.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
		e.Invalidf(precedence, spec.MatchingPrecedence, "must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)
	}
	if spec.MatchingPrecedence == exemptPrecedence && f.Name != flowcontrolv1.FlowSchemaNameExempt {
		e.Invalid(precedence, spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if m := spec.DistinguisherMethod; m != nil {
		methods := []flowcontrolv1.FlowDistinguisherMethodType{flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}
		if !slices.Contains(methods, m.Type) {
			e.Add(field.ErrorList{field.NotSupported(fld.Child("distinguisherMethod", "type"), m, methods)})
		}
	}
	level := fld.Child("priorityLevelConfiguration", "name")
	if name := spec.PriorityLevelConfiguration.Name; name == "" {
		e.Required(level, "must reference a priority level")
	} else {
		e.DNSSubdomain(level, name)
	}
	for i := range spec.Rules {
		validateRule(&e, fld.Child("rules").Index(i), &spec.Rules[i])
	}
	e.Add(validateFlowSchemaStatus(f))
	return e.List()
}

func validateRule(e *validate.Errors, fld *field.Path, r *flowcontrolv1.PolicyRulesWithSubjects) {
	if len(r.Subjects) == 0 {
		e.Required(fld.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		validateSubject(e, fld.Child("subjects").Index(i), &r.Subjects[i])
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		e.Required(fld, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		validateResourceRule(e, fld.Child("resourceRules").Index(i), &r.ResourceRules[i])
	}
	for i := range r.NonResourceRules {
		validateNonResourceRule(e, fld.Child("nonResourceRules").Index(i), &r.NonResourceRules[i])
	}
}

// validateSubject wants the one field that is named as the kind is.
func validateSubject(e *validate.Errors, fld *field.Path, s *flowcontrolv1.Subject) {
	kinds := []flowcontrolv1.SubjectKind{flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser}
	if validate.Enum(e, fld.Child("kind"), s.Kind, kinds...); !slices.Contains(kinds, s.Kind) {
		return
	}
	part := func(kind flowcontrolv1.SubjectKind, name string, set bool, check func(fld *field.Path)) {
		child := fld.Child(name)
		switch {
		case s.Kind == kind && !set:
			e.Required(child, name+" is required when subject kind is '"+string(kind)+"'")
		case s.Kind == kind:
			check(child)
		case set:
			e.Forbidden(child, name+" is forbidden when subject kind is not '"+string(kind)+"'")
		}
	}
	part(flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, func(fld *field.Path) {
		if name := s.ServiceAccount.Name; name == "" {
			e.Required(fld.Child("name"), "")
		} else if name != flowcontrolv1.NameAll {
			e.Name(fld.Child("name"), name, apivalidation.ValidateServiceAccountName)
		}
		if ns := s.ServiceAccount.Namespace; ns == "" {
			e.Required(fld.Child("namespace"), "must specify namespace for service account")
		} else {
			e.Name(fld.Child("namespace"), ns, apivalidation.ValidateNamespaceName)
		}
	})
	part(flowcontrolv1.SubjectKindUser, "user", s.User != nil, func(fld *field.Path) {
		if s.User.Name == "" {
			e.Required(fld.Child("name"), "")
		}
	})
	part(flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, func(fld *field.Path) {
		if s.Group.Name == "" {
			e.Required(fld.Child("name"), "")
		}
	})
}

func validateResourceRule(e *validate.Errors, fld *field.Path, r *flowcontrolv1.ResourcePolicyRule) {
	validateVerbs(e, fld.Child("verbs"), r.Verbs)
	if len(r.APIGroups) == 0 {
		e.Required(fld.Child("apiGroups"), "resource rules must supply at least one api group")
	} else {
		alone(e, fld.Child("apiGroups"), r.APIGroups, "api groups")
	}
	if len(r.Resources) == 0 {
		e.Required(fld.Child("resources"), "resource rules must supply at least one resource")
	} else {
		alone(e, fld.Child("resources"), r.Resources, "resources")
	}
	namespaces := fld.Child("namespaces")
	switch {
	case len(r.Namespaces) == 0 && !r.ClusterScope:
		e.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace")
	case !alone(e, namespaces, r.Namespaces, "namespaces"):
		for i, ns := range r.Namespaces {
			for _, m := range apivalidation.ValidateNamespaceName(ns, false) {
				e.Invalid(namespaces.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+m)
			}
		}
	}
}

func validateNonResourceRule(e *validate.Errors, fld *field.Path, r *flowcontrolv1.NonResourcePolicyRule) {
	validateVerbs(e, fld.Child("verbs"), r.Verbs)
	urls := fld.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		e.Required(urls, "nonResourceURLs must contain at least one value")
	case !alone(e, urls, r.NonResourceURLs, "non-resource URLs"):
		for i, u := range r.NonResourceURLs {
			if m := wrongPath(u); m != "" {
				e.Invalid(urls.Index(i), u, m)
			}
		}
	}
}

func validateVerbs(e *validate.Errors, fld *field.Path, have []string) {
	if len(have) == 0 {
		e.Required(fld, "verbs must contain at least one value")
		return
	}
	if alone(e, fld, have, "verbs") {
		return
	}
	if slices.ContainsFunc(have, func(v string) bool { return !slices.Contains(verbs, v) }) {
		e.Add(field.ErrorList{field.NotSupported(fld, have, verbs)})
	}
}

// alone says whether a list has the wildcard, which stands alone.
func alone(e *validate.Errors, fld *field.Path, list []string, what string) bool {
	if !slices.Contains(list, "*") {
		return false
	}
	if len(list) > 1 {
		e.Invalid(fld, list, "if '*' is present, must not specify other "+what)
	}
	return true
}

// wrongPath says what is wrong with the path of a non-resource request.
func wrongPath(path string) string {
	switch {
	case path == "":
		return "must not be empty"
	case path == "/":
		return ""
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	}
	if n := strings.Count(path, "*"); n > 1 || n == 1 && !strings.HasSuffix(path, "/*") {
		return "wildcard can only do suffix matching"
	}
	return ""
}

func validateFlowSchemaStatus(f *flowcontrolv1.FlowSchema) field.ErrorList {
	var types []string
	for _, c := range f.Status.Conditions {
		types = append(types, string(c.Type))
	}
	return validateConditions(types)
}

// validateConditions checks the types of a status' conditions.
func validateConditions(types []string) field.ErrorList {
	var e validate.Errors
	for i, t := range types {
		fld := field.NewPath("status", "conditions").Index(i).Child("type")
		if slices.Contains(types[:i], t) {
			e.Duplicate(fld, t)
		}
		if t == "" {
			e.Required(fld, "")
		}
	}
	return e.List()
}
