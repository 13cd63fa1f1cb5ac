package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Escalation keeps users from giving, by roles and bindings, rights that they
// have not themselves, unless they may "escalate" the role or "bind" it
// (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping).
type Escalation struct {
	Rules      *RBAC
	Authorizer authorizer.UnconditionalAuthorizer
}

// Attach makes a store of one of the four kinds of RBAC check its writes.
// Writes without a user are the server's own.
func (e Escalation) Attach(s *genericregistry.Store) {
	resource := s.DefaultQualifiedResource
	s.BeginCreate = func(ctx context.Context, obj runtime.Object, _ *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		return finish, e.check(ctx, resource, grantOf(obj), nil)
	}
	s.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, _ *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		before := grantOf(old)
		return finish, e.check(ctx, resource, grantOf(obj), &before)
	}
}

func finish(context.Context, bool) {}

// grant is what a role or a binding gives.
type grant struct {
	namespace, name string
	rules           []rbacv1.PolicyRule // a role's
	aggregates      bool                // of roles that are yet unknown
	ref             *rbacv1.RoleRef     // a binding's
	subjects        []rbacv1.Subject
}

func grantOf(obj runtime.Object) grant {
	switch o := obj.(type) {
	case *rbacv1.Role:
		return grant{namespace: o.Namespace, name: o.Name, rules: o.Rules}
	case *rbacv1.ClusterRole:
		return grant{name: o.Name, rules: o.Rules, aggregates: o.AggregationRule != nil}
	case *rbacv1.RoleBinding:
		return grant{namespace: o.Namespace, name: o.Name, ref: &o.RoleRef, subjects: o.Subjects}
	case *rbacv1.ClusterRoleBinding:
		return grant{name: o.Name, ref: &o.RoleRef, subjects: o.Subjects}
	}
	return grant{}
}

// same says whether an update gives what was given before.
func (g grant) same(old *grant) bool {
	return old != nil && g.aggregates == old.aggregates && apiequality.Semantic.DeepEqual(g.rules, old.rules) &&
		apiequality.Semantic.DeepEqual(g.ref, old.ref) && apiequality.Semantic.DeepEqual(g.subjects, old.subjects)
}

// everything is what one must have to write a role whose rules others decide.
var everything = []rbacv1.PolicyRule{on(all, all, all), urls(all, all)}

func (e Escalation) check(ctx context.Context, resource schema.GroupResource, g grant, old *grant) error {
	u, ok := request.UserFrom(ctx)
	if !ok || slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) || g.same(old) {
		return nil
	}
	rules := g.rules
	asked := authorizer.AttributesRecord{
		User: u, Verb: "escalate", Namespace: g.namespace, APIGroup: resource.Group, APIVersion: "*",
		Resource: resource.Resource, Name: g.name, ResourceRequest: true,
	}
	if g.ref != nil {
		asked.Verb, asked.Resource, asked.Name = "bind", roleResource(g.ref.Kind), g.ref.Name
	}
	if decision, _, err := e.Authorizer.Authorize(ctx, asked); err == nil && decision == authorizer.DecisionAllow {
		return nil
	}
	if g.ref != nil {
		var err error
		if rules, err = e.Rules.RoleRules(*g.ref, g.namespace); err != nil {
			return err
		}
	} else if g.aggregates {
		rules = append(slices.Clone(rules), everything...)
	}
	has, err := e.Rules.Rules(u, g.namespace)
	if covered, lacking := validation.Covers(has, rules); !covered {
		return apierrors.NewForbidden(resource, g.name, lacks(u, lacking, err))
	}
	return nil
}

func roleResource(kind string) string {
	if kind == "ClusterRole" {
		return "clusterroles"
	}
	return "roles"
}

// lacks says which rights a user wants to give and has not.
func lacks(u user.Info, rules []rbacv1.PolicyRule, unresolved error) error {
	var lines []string
	for _, r := range compact(rules) {
		lines = append(lines, describeRule(r))
	}
	slices.Sort(lines)
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if unresolved != nil {
		return fmt.Errorf("%s; resolution errors: %w", text, unresolved)
	}
	return fmt.Errorf("%s", text)
}

// compact joins rules that differ in their verbs only.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		i := slices.IndexFunc(out, func(o rbacv1.PolicyRule) bool {
			return slices.Equal(o.APIGroups, r.APIGroups) && slices.Equal(o.Resources, r.Resources) &&
				slices.Equal(o.ResourceNames, r.ResourceNames) && slices.Equal(o.NonResourceURLs, r.NonResourceURLs)
		})
		if i < 0 {
			r.Verbs = slices.Clone(r.Verbs)
			out = append(out, r)
			continue
		}
		out[i].Verbs = append(out[i].Verbs, r.Verbs...)
	}
	return out
}

func describeRule(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups},
		{"Resources", r.Resources},
		{"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames},
		{"Verbs", r.Verbs},
	} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
