package rbac

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ClusterRoleBinding gives rights in all of the cluster.
var ClusterRoleBinding = api.Of[rbacv1.ClusterRoleBinding]{
	Group: rbacv1.GroupName, Version: "v1", Kind: "ClusterRoleBinding", Resource: "clusterrolebindings",
	CreateOnUpdate: true,
	ClusterScoped:  true,

	NameValidation: anyName,
	Default:        func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: func(b *rbacv1.ClusterRoleBinding) field.ErrorList {
		var e validate.Errors
		checkBinding(&e, &b.RoleRef, b.Subjects, false, "ClusterRole")
		return e.List()
	},
	ValidateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList { return checkRoleRef(b.RoleRef, old.RoleRef) },

	Columns: slices.Concat(
		[]api.Column[rbacv1.ClusterRoleBinding]{
			print.Name[rbacv1.ClusterRoleBinding](),
			roleColumn(rbacv1beta1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"], func(b *rbacv1.ClusterRoleBinding) rbacv1.RoleRef { return b.RoleRef }),
			print.Age[rbacv1.ClusterRoleBinding](),
		},
		subjectColumns("clusterRoleBinding", func(b *rbacv1.ClusterRoleBinding) []rbacv1.Subject { return b.Subjects }),
	),
}
