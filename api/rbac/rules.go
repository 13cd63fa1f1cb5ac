package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

// anyName accepts what can stand in a URL: names of roles often have colons.
var anyName = validate.PathSegment

// checkRules checks the rules of a role; those in a namespace are about
// resources only.
func checkRules(e *validate.Errors, rules []rbacv1.PolicyRule, namespaced bool) {
	for i, rule := range rules {
		fld := field.NewPath("rules").Index(i)
		if len(rule.NonResourceURLs) > 0 {
			if namespaced {
				e.Invalid(fld.Child("nonResourceURLs"), rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(rule.APIGroups)+len(rule.Resources)+len(rule.ResourceNames) > 0 {
				e.Invalid(fld.Child("nonResourceURLs"), rule.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(rule.APIGroups) == 0 {
			e.Required(fld.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(rule.Resources) == 0 {
			e.Required(fld.Child("resources"), "resource rules must supply at least one resource")
		}
	}
	for i, rule := range rules {
		if len(rule.Verbs) == 0 {
			e.Required(field.NewPath("rules").Index(i).Child("verbs"), "")
		}
	}
}

// defaultBinding fills the groups of what a binding names.
func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

// checkBinding checks which role is given to whom. kinds are the kinds of
// roles that may be given.
func checkBinding(e *validate.Errors, ref *rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds ...string) {
	fld := field.NewPath("roleRef")
	validate.Enum(e, fld.Child("apiGroup"), ref.APIGroup, rbacv1.GroupName)
	validate.Enum(e, fld.Child("kind"), ref.Kind, kinds...)
	if ref.Name == "" {
		e.Required(fld.Child("name"), "")
	} else {
		e.Name(fld.Child("name"), ref.Name, anyName)
	}
	for i := range subjects {
		checkSubject(e, &subjects[i], namespaced, field.NewPath("subjects").Index(i))
	}
}

func checkSubject(e *validate.Errors, s *rbacv1.Subject, namespaced bool, fld *field.Path) {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			e.Name(fld.Child("name"), s.Name, apivalidation.ValidateServiceAccountName)
		}
		validate.Enum(e, fld.Child("apiGroup"), s.APIGroup, "")
		if !namespaced {
			e.Text(fld.Child("namespace"), s.Namespace)
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		validate.Enum(e, fld.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)
	default:
		validate.Enum(e, fld.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)
	}
	e.Text(fld.Child("name"), s.Name)
}

// checkRoleRef keeps the role of a binding: rights are given by making a
// binding, for which its maker must have them.
func checkRoleRef(now, was rbacv1.RoleRef) field.ErrorList {
	if now == was {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), now, apivalidation.FieldImmutableErrorMsg)}
}

// roleColumn shows which role a binding gives.
func roleColumn[T any](description string, ref func(*T) rbacv1.RoleRef) api.Column[T] {
	return api.Column[T]{
		Name: "Role", Description: description,
		Value: func(b *T) any { return ref(b).Kind + "/" + ref(b).Name },
	}
}

// subjectColumns are the wide columns of whom a binding is for.
func subjectColumns[T any](in string, subjects func(*T) []rbacv1.Subject) []api.Column[T] {
	column := func(name, kind string) api.Column[T] {
		return api.Column[T]{
			Name: name, Priority: 1, Description: name + " in the " + in,
			Value: func(b *T) any { return names(subjects(b), kind) },
		}
	}
	return []api.Column[T]{
		column("Users", rbacv1.UserKind), column("Groups", rbacv1.GroupKind), column("ServiceAccounts", rbacv1.ServiceAccountKind),
	}
}

// names lists the subjects of a kind.
func names(subjects []rbacv1.Subject, kind string) string {
	var list []string
	for _, s := range subjects {
		if s.Kind != kind {
			continue
		}
		if kind == rbacv1.ServiceAccountKind {
			list = append(list, s.Namespace+"/"+s.Name)
		} else {
			list = append(list, s.Name)
		}
	}
	return strings.Join(list, ", ")
}
