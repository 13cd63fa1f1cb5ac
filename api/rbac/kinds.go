package rbac

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{ClusterRole.Erase(), ClusterRoleBinding.Erase(), Role.Erase(), RoleBinding.Erase()}
}
