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

// RoleBinding gives rights in its namespace.
var RoleBinding = api.Of[rbacv1.RoleBinding]{
	Group: rbacv1.GroupName, Version: "v1", Kind: "RoleBinding", Resource: "rolebindings",
	CreateOnUpdate: true,

	NameValidation: anyName,
	Default:        func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: func(b *rbacv1.RoleBinding) field.ErrorList {
		var e validate.Errors
		checkBinding(&e, &b.RoleRef, b.Subjects, true, "Role", "ClusterRole")
		return e.List()
	},
	ValidateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList { return checkRoleRef(b.RoleRef, old.RoleRef) },

	Columns: slices.Concat(
		[]api.Column[rbacv1.RoleBinding]{
			print.Name[rbacv1.RoleBinding](),
			roleColumn(rbacv1beta1.RoleBinding{}.SwaggerDoc()["roleRef"], func(b *rbacv1.RoleBinding) rbacv1.RoleRef { return b.RoleRef }),
			print.Age[rbacv1.RoleBinding](),
		},
		subjectColumns("roleBinding", func(b *rbacv1.RoleBinding) []rbacv1.Subject { return b.Subjects }),
	),
}
