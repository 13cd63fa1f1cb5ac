package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"github.com/skiffcluster/skiff/api"
)

// ClusterRoleBinding is the kind.
var ClusterRoleBinding = api.Of[rbacv1.ClusterRoleBinding]{
	NameValidation: path.ValidatePathSegmentName,
	Group:          rbacv1.GroupName, Version: "v1", Kind: "ClusterRoleBinding", Resource: "clusterrolebindings",
	ClusterScoped: true,
}
