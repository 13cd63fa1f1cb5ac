package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"github.com/skiffcluster/skiff/api"
)

// Role is the kind.
var Role = api.Of[rbacv1.Role]{
	NameValidation: path.ValidatePathSegmentName,
	Group:          rbacv1.GroupName, Version: "v1", Kind: "Role", Resource: "roles",
}
