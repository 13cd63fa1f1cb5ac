package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/skiffcluster/skiff/api"
)

// Role is the kind.
var Role = api.Of[rbacv1.Role]{
	Group: rbacv1.GroupName, Version: "v1", Kind: "Role", Resource: "roles",
}
