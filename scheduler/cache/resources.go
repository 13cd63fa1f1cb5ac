package cache

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Resources are amounts of what pods request and nodes offer, in the units
// that the scheduler computes in.
type Resources struct {
	MilliCPU         int64 // thousandths of a core
	Memory           int64 // bytes
	EphemeralStorage int64 // bytes
	// Scalars are the other resources: extended ones, huge pages, attachable
	// volumes. There are few, so a list is smaller and faster than a map.
	Scalars []Scalar
}

// Scalar is an amount of one named resource, in its own unit.
type Scalar struct {
	Name  corev1.ResourceName
	Value int64
}

// ResourcesOf converts a list of quantities. Unknown names without a domain
// ("foo") count for nothing, as in Kubernetes.
func ResourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = quantity.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = quantity.Value()
		case corev1.ResourcePods:
		default:
			if isScalar(name) {
				r.Scalars = append(r.Scalars, Scalar{Name: name, Value: quantity.Value()})
			}
		}
	}
	slices.SortFunc(r.Scalars, func(a, b Scalar) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return r
}

// isScalar tells the resources that are counted by name: those of a domain
// that is not Kubernetes' own, huge pages, and attachable volumes.
func isScalar(name corev1.ResourceName) bool {
	n := string(name)
	return strings.Contains(n, "/") ||
		strings.HasPrefix(n, corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(n, corev1.ResourceAttachableVolumesPrefix)
}

// Scalar gives the amount of a named resource.
func (r *Resources) Scalar(name corev1.ResourceName) int64 {
	for i := range r.Scalars {
		if r.Scalars[i].Name == name {
			return r.Scalars[i].Value
		}
	}
	return 0
}

// IsZero tells whether nothing is requested.
func (r *Resources) IsZero() bool {
	if r.MilliCPU != 0 || r.Memory != 0 || r.EphemeralStorage != 0 {
		return false
	}
	for i := range r.Scalars {
		if r.Scalars[i].Value != 0 {
			return false
		}
	}
	return true
}

// add adds sign times other.
func (r *Resources) add(other *Resources, sign int64) {
	r.MilliCPU += sign * other.MilliCPU
	r.Memory += sign * other.Memory
	r.EphemeralStorage += sign * other.EphemeralStorage
next:
	for _, s := range other.Scalars {
		for i := range r.Scalars {
			if r.Scalars[i].Name == s.Name {
				r.Scalars[i].Value += sign * s.Value
				continue next
			}
		}
		r.Scalars = append(r.Scalars, Scalar{Name: s.Name, Value: sign * s.Value})
	}
}

// copyFrom makes r equal to other and reuses r's memory.
func (r *Resources) copyFrom(other *Resources) {
	scalars := append(r.Scalars[:0], other.Scalars...)
	*r = *other
	r.Scalars = scalars
}
