package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"github.com/skiffcluster/skiff/api"
)

// RoleBinding is the kind.
var RoleBinding = api.Of[rbacv1.RoleBinding]{
	NameValidation: path.ValidatePathSegmentName,
	Group:          rbacv1.GroupName, Version: "v1", Kind: "RoleBinding", Resource: "rolebindings",
}
