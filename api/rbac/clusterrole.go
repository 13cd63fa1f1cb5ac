package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

// ClusterRole is a set of rights in the cluster, or in any one namespace.
var ClusterRole = api.Of[rbacv1.ClusterRole]{
	Group: rbacv1.GroupName, Version: "v1", Kind: "ClusterRole", Resource: "clusterroles",
	CreateOnUpdate: true,
	ClusterScoped:  true,

	NameValidation: anyName,
	Validate:       validateClusterRole,
}

func validateClusterRole(r *rbacv1.ClusterRole) field.ErrorList {
	var e validate.Errors
	checkRules(&e, r.Rules, false)
	if r.AggregationRule == nil {
		return e.List()
	}
	fld := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		e.Required(fld, "at least one clusterRoleSelector required if aggregationRule is non-nil")
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		selector := &r.AggregationRule.ClusterRoleSelectors[i]
		e.Add(metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, fld.Index(i)))
		if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
			e.Invalid(fld.Index(i), nil, "invalid label selector.")
		}
	}
	return e.List()
}
