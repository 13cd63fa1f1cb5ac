package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ResourceQuota bounds what the objects of a namespace use in all.
var ResourceQuota = api.Of[corev1.ResourceQuota]{
	Group: corev1.GroupName, Version: "v1", Kind: "ResourceQuota", Resource: "resourcequotas",
	ReturnDeleted: true,
	ShortNames:    []string{"quota"},

	Default: func(q *corev1.ResourceQuota) {
		roundUp(q.Spec.Hard)
		roundUp(q.Status.Hard)
		roundUp(q.Status.Used)
	},
	Validate:       validateQuota,
	ValidateUpdate: validateQuotaUpdate,

	Status: &api.Status[corev1.ResourceQuota]{Validate: validateQuotaStatus},

	Columns: []api.Column[corev1.ResourceQuota]{
		print.Name[corev1.ResourceQuota](),
		{
			Name: "Request", Description: "Request represents a minimum amount of cpu/memory that a container may consume.",
			Value: func(q *corev1.ResourceQuota) any { return quotaUse(q, false) },
		},
		{
			Name: "Limit",
			Description: "Limits control the maximum amount of cpu/memory that a container may use independent of " +
				"contention on the node.",
			Value: func(q *corev1.ResourceQuota) any { return quotaUse(q, true) },
		},
		print.Age[corev1.ResourceQuota](),
	},
}

// quotaUse prints what is used of what there is, of limits or of all else:
// "pods: 3/10, requests.cpu: 1/2".
func quotaUse(q *corev1.ResourceQuota, limits bool) string {
	var parts []string
	for _, name := range validate.Keys(q.Status.Hard) {
		if strings.HasPrefix(string(name), "limits.") == limits {
			used, hard := q.Status.Used[name], q.Status.Hard[name]
			parts = append(parts, fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String()))
		}
	}
	return strings.Join(parts, ", ")
}

// quotaResources are the names without a domain that a quota knows.
var quotaResources = sets.New(
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
	corev1.ResourceSecrets, corev1.ResourcePersistentVolumeClaims, corev1.ResourceConfigMaps,
	corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
)

// podResources are those of them that pods use, to which scopes apply.
var podResources = sets.New(
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage, corev1.ResourcePods,
)

func isQuotaResource(name corev1.ResourceName) bool {
	return quotaResources.Has(name) || isQuotaHugePages(name)
}

func isQuotaHugePages(name corev1.ResourceName) bool {
	return validate.IsHugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func validateQuota(q *corev1.ResourceQuota) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	checkQuotaList(&e, q.Spec.Hard, fld.Child("hard"))
	if len(q.Spec.Scopes) > 0 {
		checkQuotaScopes(&e, &q.Spec, q.Spec.Scopes, fld.Child("scopes"))
	}
	if s := q.Spec.ScopeSelector; s != nil {
		checkScopeSelector(&e, &q.Spec, s, fld.Child("scopeSelector", "matchExpressions"))
	}
	return e.List()
}

func checkQuotaList(e *validate.Errors, list corev1.ResourceList, fld *field.Path) {
	for _, name := range validate.Keys(list) {
		p := fld.Key(string(name))
		e.ResourceName(p, name)
		if !strings.Contains(string(name), "/") && !isQuotaResource(name) {
			e.Invalid(p, name, "must be a standard resource for quota")
		}
		e.ResourceValue(p, name, list[name])
	}
}

func checkQuotaScopes(e *validate.Errors, spec *corev1.ResourceQuotaSpec, scopes []corev1.ResourceQuotaScope, fld *field.Path) {
	for _, scope := range scopes {
		if !isQuotaScope(scope) {
			e.Invalid(fld, scopes, "unsupported scope")
		}
		for _, name := range validate.Keys(spec.Hard) {
			if isQuotaResource(name) && !scopeApplies(scope, name) {
				e.Invalid(fld, scopes, "unsupported scope applied to resource")
			}
		}
	}
	checkScopePairs(e, scopes, scopes, fld)
}

// checkScopePairs reports scopes that no pod can be in together.
func checkScopePairs(e *validate.Errors, scopes, shown []corev1.ResourceQuotaScope, fld *field.Path) {
	has := sets.New(scopes...)
	if has.HasAll(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort) {
		e.Invalid(fld, shown, "conflicting scopes")
	}
	if has.HasAll(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating) {
		e.Invalid(fld, shown, "conflicting scopes")
	}
}

func isQuotaScope(scope corev1.ResourceQuotaScope) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating,
		corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
		corev1.ResourceQuotaScopeVolumeAttributesClass:
		return true
	}
	return false
}

// scopeApplies tells whether what uses the resource can be in the scope.
func scopeApplies(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return podResources.Has(name) || isQuotaHugePages(name)
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	}
	return true
}

func checkScopeSelector(e *validate.Errors, spec *corev1.ResourceQuotaSpec, s *corev1.ScopeSelector, fld *field.Path) {
	var scopes []corev1.ResourceQuotaScope
	for _, req := range s.MatchExpressions {
		if !isQuotaScope(req.ScopeName) {
			e.Invalid(fld.Child("scopeName"), req.ScopeName, "unsupported scope")
		}
		for _, name := range validate.Keys(spec.Hard) {
			if isQuotaResource(name) && !scopeApplies(req.ScopeName, name) {
				e.Invalid(fld, s, "unsupported scope applied to resource")
			}
		}
		checkScopeRequirement(e, &req, fld)
		scopes = append(scopes, req.ScopeName)
	}
	checkScopePairs(e, scopes, spec.Scopes, fld)
}

func checkScopeRequirement(e *validate.Errors, req *corev1.ScopedResourceSelectorRequirement, fld *field.Path) {
	switch req.ScopeName {
	case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating,
		corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		if req.Operator != corev1.ScopeSelectorOpExists {
			e.Invalid(fld.Child("operator"), req.Operator, "must be 'Exists' when scope is any of "+
				"ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "+
				"ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		}
	}
	switch req.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(req.Values) == 0 {
			e.Required(fld.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(req.Values) > 0 {
			e.Invalid(fld.Child("values"), req.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		e.Invalid(fld.Child("operator"), req.Operator, "not a valid selector operator")
	}
}

func validateQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	if sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, apivalidation.FieldImmutableErrorMsg)}
}

func validateQuotaStatus(q, _ *corev1.ResourceQuota) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	checkQuotaList(&e, q.Status.Hard, fld.Child("hard"))
	checkQuotaList(&e, q.Status.Used, fld.Child("used"))
	return e.List()
}
