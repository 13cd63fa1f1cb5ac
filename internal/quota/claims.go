package quota

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// classSuffix is in the names of what claims of one storage class use:
// "gold.storageclass.storage.k8s.io/requests.storage".
const classSuffix = ".storageclass.storage.k8s.io/"

// claims counts persistent volume claims and what they ask for, in all and for
// each storage class.
type claims struct {
	unscoped
	list generic.ListFuncByNamespace
}

var _ quota.Evaluator = &claims{}

func (*claims) GroupResource() schema.GroupResource {
	return corev1.Resource("persistentvolumeclaims")
}

func (*claims) Handles(a admission.Attributes) bool {
	return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
}

func (*claims) Constraints([]corev1.ResourceName, runtime.Object) error { return nil }

func (c *claims) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(q, item, c.MatchingResources, generic.MatchesNoScopeFunc)
}

func (*claims) MatchingResources(input []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, name := range input {
		plain := string(name)
		if _, of, ok := strings.Cut(plain, classSuffix); ok {
			plain = of
		} else if plain == "count/persistentvolumeclaims" {
			out = append(out, name)
			continue
		}
		if plain == string(corev1.ResourcePersistentVolumeClaims) || plain == string(corev1.ResourceRequestsStorage) {
			out = append(out, name)
		}
	}
	return out
}

func (*claims) Usage(item runtime.Object) (corev1.ResourceList, error) {
	c, ok := item.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil, fmt.Errorf("expect *corev1.PersistentVolumeClaim, got %T", item)
	}
	class := c.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	used := corev1.ResourceList{"count/persistentvolumeclaims": count(1), corev1.ResourcePersistentVolumeClaims: count(1)}
	prefix := corev1.ResourceName(class + classSuffix)
	if class != "" {
		used[prefix+corev1.ResourcePersistentVolumeClaims] = count(1)
	}
	request, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return used, nil
	}
	// What is given counts while a claim shrinks.
	if given := c.Status.AllocatedResources[corev1.ResourceStorage]; given.Cmp(request) > 0 {
		request = given
	}
	used[corev1.ResourceRequestsStorage] = request.DeepCopy()
	if class != "" {
		used[prefix+corev1.ResourceRequestsStorage] = request.DeepCopy()
	}
	return used, nil
}

func (c *claims) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, c.list, generic.MatchesNoScopeFunc, c.Usage)
}
