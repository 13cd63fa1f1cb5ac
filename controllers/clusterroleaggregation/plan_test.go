package clusterroleaggregation

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlanRules(t *testing.T) {
	role := func(name, label string, resources ...string) rbacv1.ClusterRole {
		r := rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": label}}}
		for _, resource := range resources {
			r.Rules = append(r.Rules, rbacv1.PolicyRule{Resources: []string{resource}, Verbs: []string{"get"}})
		}
		return r
	}
	roles := []rbacv1.ClusterRole{role("all", "a", "old"), role("b", "a", "secrets", "pods"), role("c", "b", "leases"), role("z", "a", "pods", "nodes")}
	for _, c := range []struct {
		name   string
		labels []string
		want   []string
	}{
		{"rules come in the order of the roles, each once, without the role's own", []string{"a"}, []string{"secrets", "pods", "nodes"}},
		{"selector by selector", []string{"b", "a"}, []string{"leases", "secrets", "pods", "nodes"}},
		{"nothing selected is no rule", []string{"x"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := role("all", "a")
			all.AggregationRule = &rbacv1.AggregationRule{}
			for _, label := range c.labels {
				all.AggregationRule.ClusterRoleSelectors = append(all.AggregationRule.ClusterRoleSelectors, metav1.LabelSelector{MatchLabels: map[string]string{"to": label}})
			}
			rules, err := planRules(&all, roles)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rule := range rules {
				got = append(got, rule.Resources...)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("rules for %v, want %v", got, c.want)
			}
		})
	}
}
