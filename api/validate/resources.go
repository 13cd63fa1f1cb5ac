package validate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containerResources are those that a container may ask for by a plain name.
var containerResources = sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)

// plainResources are all names without a domain that mean something anywhere.
var plainResources = sets.New(
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	corev1.ResourceStorage, corev1.ResourceRequestsStorage,
).Union(countedResources)

// countedResources are objects that a quota counts; they come in whole units.
var countedResources = sets.New(
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
	corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
	corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
)

// IsHugePages tells resources such as hugepages-2Mi.
func IsHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// IsNative tells resources of Kubernetes itself from those of vendors.
func IsNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtended tells resources of vendors, such as example.com/gpu.
func IsExtended(name corev1.ResourceName) bool {
	if IsNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	// A quota names it with a prefix; the name must be valid then as well.
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// Overcommits tells whether a container's request may be below its limit.
func Overcommits(name corev1.ResourceName) bool { return IsNative(name) && !IsHugePages(name) }

// pageSize is the size in the name of a hugepages resource; 0 when it is none.
func pageSize(name corev1.ResourceName) int64 {
	q, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || q.Sign() <= 0 || q.MilliValue()%1000 != 0 {
		return 0
	}
	return q.Value()
}

// HugePages reports an amount of huge pages that is no multiple of their size.
// Other resources are fine.
func (e *Errors) HugePages(p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	if !IsHugePages(name) {
		return
	}
	if size := pageSize(name); size == 0 || q.Value()%size != 0 {
		e.Invalidf(p, q.String(), "%s is not positive integer multiple of %s", q.String(), name)
	}
}

// ResourceName reports a name that is neither known nor with a domain.
func (e *Errors) ResourceName(p *field.Path, name corev1.ResourceName) {
	before := e.Len()
	e.Messages(p, name, validation.IsQualifiedName(string(name)))
	if e.Len() > before || strings.Contains(string(name), "/") {
		return
	}
	if !plainResources.Has(name) && !IsHugePages(name) && !strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) {
		e.Invalid(p, name, "must be a standard resource type or fully qualified")
	}
}

// ContainerResourceName reports a name that no container can ask for.
func (e *Errors) ContainerResourceName(p *field.Path, name corev1.ResourceName) {
	e.ResourceName(p, name)
	switch {
	case !strings.Contains(string(name), "/"):
		if !containerResources.Has(name) && !IsHugePages(name) {
			e.Invalid(p, name, "must be a standard resource for containers")
		}
	case !IsNative(name) && !IsExtended(name):
		e.Invalid(p, name, "doesn't follow extended resource name standard")
	}
}

// ResourceValue reports an amount that the resource cannot have.
func (e *Errors) ResourceValue(p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	e.NonnegativeQuantity(p, q)
	if (countedResources.Has(name) || IsExtended(name)) && !isWhole(q) {
		e.Invalid(p, q, "must be an integer")
	}
}

// isWhole tells whether q is a whole number. Amounts are rounded up to
// thousandths when they are read, so that is as fine as it can differ.
func isWhole(q resource.Quantity) bool {
	if _, exact := q.AsScale(0); exact {
		return true
	}
	return q.MilliValue()%1000 == 0
}
