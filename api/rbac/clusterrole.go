package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"github.com/skiffcluster/skiff/api"
)

// ClusterRole is the kind.
var ClusterRole = api.Of[rbacv1.ClusterRole]{
	NameValidation: path.ValidatePathSegmentName,
	Group:          rbacv1.GroupName, Version: "v1", Kind: "ClusterRole", Resource: "clusterroles",
	ClusterScoped: true,
}
