package quota

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// aliases are the old names of counts.
var aliases = map[schema.GroupResource]corev1.ResourceName{
	corev1.Resource("configmaps"):             corev1.ResourceConfigMaps,
	corev1.Resource("resourcequotas"):         corev1.ResourceQuotas,
	corev1.Resource("replicationcontrollers"): corev1.ResourceReplicationControllers,
	corev1.Resource("secrets"):                corev1.ResourceSecrets,
}

// Evaluators of the kinds that are more than counted, and of those that are
// counted by an old name too. lister is used by UsageStats only and may be nil
// where that is not called.
func Evaluators(lister quota.ListerForResourceFunc) []quota.Evaluator {
	list := func(gr schema.GroupResource) generic.ListFuncByNamespace {
		if lister == nil {
			return nil
		}
		return generic.ListResourceUsingListerFunc(lister, gr.WithVersion("v1"))
	}
	out := []quota.Evaluator{
		&pods{scoped: scoped{podInScope}, list: list(corev1.Resource("pods"))},
		&services{scoped: scoped{generic.MatchesNoScopeFunc}, list: list(corev1.Resource("services"))},
		&claims{scoped: scoped{claimInScope}, list: list(corev1.Resource("persistentvolumeclaims"))},
		&resourceClaims{scoped: scoped{generic.MatchesNoScopeFunc}, list: list(resourcev1.Resource("resourceclaims"))},
	}
	for gr, alias := range aliases {
		out = append(out, generic.NewObjectCountEvaluator(gr, list(gr), alias))
	}
	return out
}
