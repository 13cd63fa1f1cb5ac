package aggregation

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// Priority is the place of a group among groups and of a version within its
// group; the highest comes first.
type Priority struct{ Group, Version int32 }

// groupPriorities are kube-apiserver's, which give discovery its order.
var groupPriorities = map[string]int32{
	"":                             18000,
	"apps":                         17800,
	"events.k8s.io":                17750,
	"authentication.k8s.io":        17700,
	"authorization.k8s.io":         17600,
	"autoscaling":                  17500,
	"batch":                        17400,
	"certificates.k8s.io":          17300,
	"networking.k8s.io":            17200,
	"policy":                       17100,
	"rbac.authorization.k8s.io":    17000,
	"storage.k8s.io":               16800,
	"apiextensions.k8s.io":         16700,
	"admissionregistration.k8s.io": 16700,
	"scheduling.k8s.io":            16600,
	"coordination.k8s.io":          16500,
	"node.k8s.io":                  16300,
	"discovery.k8s.io":             16200,
	"flowcontrol.apiserver.k8s.io": 16100,
	"internal.apiserver.k8s.io":    16000,
	"resource.k8s.io":              16200,
	"storagemigration.k8s.io":      15800,
	"lifecycle.k8s.io":             15700,
}

// versionPriorities are of the versions that the general rule does not fit.
var versionPriorities = map[schema.GroupVersion]int32{
	{Version: "v1"}: 1,
	{Group: "events.k8s.io", Version: "v1beta1"}:                 5,
	{Group: "autoscaling", Version: "v2"}:                        30,
	{Group: "admissionregistration.k8s.io", Version: "v1beta1"}:  12,
	{Group: "admissionregistration.k8s.io", Version: "v1alpha1"}: 9,
	{Group: "coordination.k8s.io", Version: "v1beta1"}:           13,
	{Group: "coordination.k8s.io", Version: "v1alpha2"}:          12,
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}:       21,
	{Group: "internal.apiserver.k8s.io", Version: "v1alpha1"}:    9,
	{Group: "resource.k8s.io", Version: "v1"}:                    21,
	{Group: "resource.k8s.io", Version: "v1beta2"}:               15,
}

// PriorityOf is of a built-in group and version; ok is false for others.
func PriorityOf(gv schema.GroupVersion) (p Priority, ok bool) {
	if p.Group, ok = groupPriorities[gv.Group]; !ok {
		return p, false
	}
	if p.Version = versionPriorities[gv]; p.Version != 0 {
		return p, true
	}
	switch {
	case strings.Contains(gv.Version, "alpha"):
		p.Version = 1
	case strings.Contains(gv.Version, "beta"):
		p.Version = 9
	default:
		p.Version = 15
	}
	return p, true
}

// Compare orders groups and versions as discovery lists them.
func Compare(a, b schema.GroupVersion) int {
	pa, _ := PriorityOf(a)
	pb, _ := PriorityOf(b)
	return cmp.Or(
		cmp.Compare(pb.Group, pa.Group),
		strings.Compare(a.Group, b.Group),
		cmp.Compare(pb.Version, pa.Version),
		version.CompareKubeAwareVersionStrings(b.Version, a.Version),
	)
}
