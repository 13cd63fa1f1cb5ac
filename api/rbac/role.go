package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

// Role is a set of rights in a namespace.
var Role = api.Of[rbacv1.Role]{
	Group: rbacv1.GroupName, Version: "v1", Kind: "Role", Resource: "roles",
	CreateOnUpdate: true,

	NameValidation: anyName,
	Validate: func(r *rbacv1.Role) field.ErrorList {
		var e validate.Errors
		checkRules(&e, r.Rules, true)
		return e.List()
	},
}
