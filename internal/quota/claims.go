package quota

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/utils/ptr"
)

// classSuffix is in the names of what claims of one storage class use:
// "gold.storageclass.storage.k8s.io/requests.storage".
const classSuffix = ".storageclass.storage.k8s.io/"

// claims counts persistent volume claims and what they ask for, in all and for
// each storage class.
type claims struct {
	scoped
	list generic.ListFuncByNamespace
}

var _ quota.Evaluator = &claims{}

func (*claims) GroupResource() schema.GroupResource {
	return corev1.Resource("persistentvolumeclaims")
}

// Handles says that claims are created and changed, and that what they are given
// and of which class they are stands in their status.
func (*claims) Handles(a admission.Attributes) bool {
	switch a.GetSubresource() {
	case "":
		return a.GetOperation() == admission.Create || a.GetOperation() == admission.Update
	case "status":
		before, was := a.GetOldObject().(*corev1.PersistentVolumeClaim)
		after, is := a.GetObject().(*corev1.PersistentVolumeClaim)
		return was && is && (Rescoped(before, after) || before.Status.AllocatedResources.Storage().Cmp(*after.Status.AllocatedResources.Storage()) != 0)
	}
	return false
}

func (*claims) Constraints([]corev1.ResourceName, runtime.Object) error { return nil }

func (c *claims) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(q, item, c.MatchingResources, c.in)
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
	request = request.DeepCopy()
	request.RoundUp(0) // a quota counts whole bytes
	used[corev1.ResourceRequestsStorage] = request
	if class != "" {
		used[prefix+corev1.ResourceRequestsStorage] = request.DeepCopy()
	}
	return used, nil
}

func (c *claims) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, c.list, c.in, c.Usage)
}

// claimInScope says whether a claim is of those that a scope selects.
func claimInScope(s corev1.ScopedResourceSelectorRequirement, item runtime.Object) (bool, error) {
	claim, ok := item.(*corev1.PersistentVolumeClaim)
	if !ok {
		return false, fmt.Errorf("expect *corev1.PersistentVolumeClaim, got %T", item)
	}
	if s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return false, nil
	}
	return selects(s, sets.List(attributesClasses(claim))...)
}

// attributesClasses are the VolumeAttributesClasses that a claim wants, has and
// changes to: it counts for all of them.
func attributesClasses(claim *corev1.PersistentVolumeClaim) sets.Set[string] {
	names := sets.New(ptr.Deref(claim.Spec.VolumeAttributesClassName, ""), ptr.Deref(claim.Status.CurrentVolumeAttributesClassName, ""))
	if s := claim.Status.ModifyVolumeStatus; s != nil {
		names.Insert(s.TargetVolumeAttributesClassName)
	}
	return names.Delete("")
}
