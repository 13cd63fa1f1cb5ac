package rbac_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/rbac"
)

func TestRules(t *testing.T) {
	r := &rbacv1.Role{Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		{},
		{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz"}, Resources: []string{"pods"}},
	}}
	kindtest.Errors(t, rbac.Role.Validate(r),
		"rules[1].apiGroups: Required value: resource rules must supply at least one api group",
		"rules[1].resources: Required value: resource rules must supply at least one resource",
		`rules[2].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs`,
		`rules[2].nonResourceURLs: Invalid value: ["/healthz"]: rules cannot apply to both regular resources and non-resource URLs`,
		"rules[1].verbs: Required value")
	kindtest.Errors(t, rbac.ClusterRole.Validate(&rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{}}),
		"aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil")
	kindtest.Errors(t, rbac.ClusterRole.Validate(&rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{
		ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "bad value!"}}},
	}}), "aggregationRule.clusterRoleSelectors[0].matchLabels: Invalid value: ", "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.")
}

func TestNamesOfRolesMayHaveColons(t *testing.T) {
	if msgs := rbac.ClusterRole.NameValidation("system:node", false); len(msgs) > 0 {
		t.Error(msgs)
	}
	if msgs := rbac.Role.NameValidation("a/b", false); len(msgs) == 0 {
		t.Error("a slash was accepted")
	}
}

func TestBindings(t *testing.T) {
	b := &rbacv1.RoleBinding{
		RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "view"},
		Subjects: []rbacv1.Subject{
			{Kind: "User", Name: "jane"}, {Kind: "Group", Name: "team"}, {Kind: "ServiceAccount", Name: "app", Namespace: "default"},
		},
	}
	rbac.RoleBinding.Default(b)
	if b.RoleRef.APIGroup != rbacv1.GroupName || b.Subjects[0].APIGroup != rbacv1.GroupName || b.Subjects[2].APIGroup != "" {
		t.Errorf("%+v", b)
	}
	kindtest.Errors(t, rbac.RoleBinding.Validate(b))
	cells := rbac.RoleBinding.Erase().Cells(b)
	if cells[1] != "Role/view" || cells[3] != "jane" || cells[4] != "team" || cells[5] != "default/app" {
		t.Errorf("%v", cells)
	}
	if cells[2] != (metav1.Time{}) {
		t.Errorf("age %v", cells[2])
	}
	other := b.DeepCopy()
	other.RoleRef.Name = "edit"
	kindtest.Errors(t, rbac.RoleBinding.ValidateUpdate(other, b), "roleRef: Invalid value: ")

	bad := &rbacv1.ClusterRoleBinding{
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "app"}, {Kind: "Robot", Name: "r2"}},
	}
	kindtest.Errors(t, rbac.ClusterRoleBinding.Validate(bad),
		`roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`, "roleRef.name: Required value",
		"subjects[0].namespace: Required value",
		`subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"`)
}
