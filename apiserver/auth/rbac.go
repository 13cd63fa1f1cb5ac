package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
)

// RBAC authorizes by Roles and their bindings
// (https://kubernetes.io/docs/reference/access-authn-authz/rbac/).
type RBAC struct {
	Roles               rbaclisters.RoleLister
	RoleBindings        rbaclisters.RoleBindingLister
	ClusterRoles        rbaclisters.ClusterRoleLister
	ClusterRoleBindings rbaclisters.ClusterRoleBindingLister
}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (r *RBAC) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	var reason string
	missing := r.visit(a.GetUser(), a.GetNamespace(), func(rule *rbacv1.PolicyRule, why func() string) bool {
		if !allows(rule, a) {
			return true
		}
		reason = why()
		return false
	})
	if reason != "" {
		return authorizer.DecisionAllow, "RBAC: allowed by " + reason, nil
	}
	if len(missing) > 0 {
		return authorizer.DecisionNoOpinion, "RBAC: " + utilerrors.NewAggregate(missing).Error(), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// Rules gives all that a user may do in a namespace and, among it, in the
// whole cluster.
func (r *RBAC) Rules(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	missing := r.visit(u, namespace, func(rule *rbacv1.PolicyRule, _ func() string) bool {
		rules = append(rules, *rule)
		return true
	})
	return rules, utilerrors.NewAggregate(missing)
}

// RulesFor implements authorizer.RuleResolver.
func (r *RBAC) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := r.Rules(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var others []authorizer.NonResourceRuleInfo
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			others = append(others, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return resources, others, err != nil, err
}

// visit calls f with every rule that is bound to a user, until f says to stop.
// It gives the roles that bindings name and that do not exist.
func (r *RBAC) visit(u user.Info, namespace string, f func(rule *rbacv1.PolicyRule, why func() string) bool) (missing []error) {
	bindings, err := r.ClusterRoleBindings.List(labels.Everything())
	if err != nil {
		return []error{err}
	}
	for _, b := range bindings {
		s := subject(b.Subjects, u, "")
		if s == nil {
			continue
		}
		rules, err := r.rules(b.RoleRef, "")
		if err != nil {
			missing = append(missing, err)
			continue
		}
		why := func() string {
			return fmt.Sprintf("ClusterRoleBinding %q of %s %q to %s", b.Name, b.RoleRef.Kind, b.RoleRef.Name, describe(s))
		}
		for i := range rules {
			if !f(&rules[i], why) {
				return missing
			}
		}
	}
	if namespace == "" {
		return missing
	}
	local, err := r.RoleBindings.RoleBindings(namespace).List(labels.Everything())
	if err != nil {
		return append(missing, err)
	}
	for _, b := range local {
		s := subject(b.Subjects, u, namespace)
		if s == nil {
			continue
		}
		rules, err := r.rules(b.RoleRef, namespace)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		why := func() string {
			return fmt.Sprintf("RoleBinding %q of %s %q to %s", b.Name+"/"+namespace, b.RoleRef.Kind, b.RoleRef.Name, describe(s))
		}
		for i := range rules {
			if !f(&rules[i], why) {
				return missing
			}
		}
	}
	return missing
}

// RoleRules gives the rules of a role that a binding names.
func (r *RBAC) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	return r.rules(ref, namespace)
}

func (r *RBAC) rules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		role, err := r.Roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "ClusterRole":
		role, err := r.ClusterRoles.Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// subject finds the one that a user is; namespace is the binding's, which
// service accounts without one are in.
func subject(subjects []rbacv1.Subject, u user.Info, namespace string) *rbacv1.Subject {
	for i := range subjects {
		s := &subjects[i]
		switch s.Kind {
		case rbacv1.UserKind:
			if u.GetName() == s.Name {
				return s
			}
		case rbacv1.GroupKind:
			if slices.Contains(u.GetGroups(), s.Name) {
				return s
			}
		case rbacv1.ServiceAccountKind:
			ns := s.Namespace
			if ns == "" {
				ns = namespace
			}
			if ns != "" && serviceaccount.MatchesUsername(ns, s.Name, u.GetName()) {
				return s
			}
		}
	}
	return nil
}

func describe(s *rbacv1.Subject) string {
	if s.Kind == rbacv1.ServiceAccountKind {
		return fmt.Sprintf("%s %q", s.Kind, s.Name+"/"+s.Namespace)
	}
	return fmt.Sprintf("%s %q", s.Kind, s.Name)
}

// allows says whether one rule covers a request.
func allows(rule *rbacv1.PolicyRule, a authorizer.Attributes) bool {
	if !has(rule.Verbs, a.GetVerb(), rbacv1.VerbAll) {
		return false
	}
	if !a.IsResourceRequest() {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			prefix, wild := strings.CutSuffix(url, "*")
			return url == a.GetPath() || wild && strings.HasPrefix(a.GetPath(), prefix)
		})
	}
	return has(rule.APIGroups, a.GetAPIGroup(), rbacv1.APIGroupAll) &&
		allowsResource(rule.Resources, a.GetResource(), a.GetSubresource()) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.GetName()))
}

func has(list []string, value, all string) bool {
	return slices.Contains(list, value) || slices.Contains(list, all)
}

func allowsResource(rules []string, resource, subresource string) bool {
	for _, r := range rules {
		base, sub, isSub := strings.Cut(r, "/")
		switch {
		case r == rbacv1.ResourceAll:
			return true
		case subresource == "" && r == resource:
			return true
		case subresource != "" && isSub && sub == subresource && (base == resource || base == "*"):
			return true
		}
	}
	return false
}
