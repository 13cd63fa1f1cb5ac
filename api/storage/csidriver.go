package storage

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	minTokenSeconds  = 10 * 60
	maxTokenSeconds  = 1 << 32
	minUpdateSeconds = 10

	tokensInSecrets = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, " +
		"set to true to prevent possible logging of tokens in volume attributes"
)

// CSIDriver is a driver of volumes, and what Kubernetes does for it.
var CSIDriver = api.Of[storagev1.CSIDriver]{
	Group: storagev1.GroupName, Version: "v1", Kind: "CSIDriver", Resource: "csidrivers",
	ReturnDeleted:         true,
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	Default: defaultCSIDriver,
	// The generation counts changes only: that of a new driver is none.
	PrepareUpdate: func(d, old *storagev1.CSIDriver) {
		if !apiequality.Semantic.DeepEqual(d.Spec, old.Spec) {
			d.Generation = old.Generation + 1
		}
	},
	Validate:       validateCSIDriver,
	ValidateUpdate: validateCSIDriverUpdate,
	Warnings:       warnCSIDriver,

	Columns: []api.Column[storagev1.CSIDriver]{
		print.Name[storagev1.CSIDriver](),
		driverFlag("AttachRequired", "attachRequired", func(s *storagev1.CSIDriverSpec) bool { return ptr.Deref(s.AttachRequired, true) }),
		driverFlag("PodInfoOnMount", "podInfoOnMount", func(s *storagev1.CSIDriverSpec) bool { return ptr.Deref(s.PodInfoOnMount, false) }),
		driverFlag("StorageCapacity", "storageCapacity", func(s *storagev1.CSIDriverSpec) bool { return ptr.Deref(s.StorageCapacity, false) }),
		{
			Name: "TokenRequests", Description: storagev1.CSIDriverSpec{}.SwaggerDoc()["tokenRequests"],
			Value: func(d *storagev1.CSIDriver) any {
				audiences := make([]string, len(d.Spec.TokenRequests))
				for i, t := range d.Spec.TokenRequests {
					audiences[i] = t.Audience
				}
				if len(audiences) == 0 {
					return "<unset>"
				}
				return strings.Join(audiences, ",")
			},
		},
		driverFlag("RequiresRepublish", "requiresRepublish", func(s *storagev1.CSIDriverSpec) bool { return ptr.Deref(s.RequiresRepublish, false) }),
		{
			Name: "Modes", Description: storagev1.CSIDriverSpec{}.SwaggerDoc()["volumeLifecycleModes"],
			Value: func(d *storagev1.CSIDriver) any {
				modes := make([]string, len(d.Spec.VolumeLifecycleModes))
				for i, m := range d.Spec.VolumeLifecycleModes {
					modes[i] = string(m)
				}
				return print.OrNone(strings.Join(modes, ","))
			},
		},
		print.Age[storagev1.CSIDriver](),
	},
}

func driverFlag(name, in string, value func(*storagev1.CSIDriverSpec) bool) api.Column[storagev1.CSIDriver] {
	return api.Column[storagev1.CSIDriver]{
		Name: name, Type: "boolean", Description: storagev1.CSIDriverSpec{}.SwaggerDoc()[in],
		Value: func(d *storagev1.CSIDriver) any { return value(&d.Spec) },
	}
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	fill := func(field **bool, value bool) {
		if *field == nil {
			*field = &value
		}
	}
	fill(&s.AttachRequired, true)
	fill(&s.PodInfoOnMount, false)
	fill(&s.StorageCapacity, false)
	fill(&s.RequiresRepublish, false)
	fill(&s.SELinuxMount, false)
	fill(&s.PreventPodSchedulingIfMissing, false)
	if s.FSGroupPolicy == nil {
		s.FSGroupPolicy = ptr.To(storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

// warnCSIDriver advises against tokens that drivers are given among parameters.
func warnCSIDriver(d, old *storagev1.CSIDriver) []string {
	changed := old == nil || !apiequality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests)
	if !changed || len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil {
		return nil
	}
	return []string{tokensInSecrets}
}

func validateCSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	var e validate.Errors
	s, fld := &d.Spec, field.NewPath("spec")
	if len(validation.IsDNS1123Subdomain(d.Name)) == 0 { // else it is told of metadata.name
		e.DriverName(field.NewPath("name"), d.Name)
	}
	for _, f := range []struct {
		name  string
		value *bool
	}{{"attachRequired", s.AttachRequired}, {"podInfoOnMount", s.PodInfoOnMount}, {"storageCapacity", s.StorageCapacity}} {
		if f.value == nil {
			e.Required(fld.Child(f.name), "")
		}
	}
	if p := s.FSGroupPolicy; p != nil {
		validate.Enum(&e, fld.Child("fsGroupPolicy"), *p, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy,
			storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	audiences := sets.New[string]()
	for i, t := range s.TokenRequests {
		p := fld.Child("tokenRequests").Index(i)
		if audiences.Has(t.Audience) {
			e.Duplicate(p.Child("audience"), t.Audience)
		}
		audiences.Insert(t.Audience)
		if n := t.ExpirationSeconds; n != nil && *n < minTokenSeconds {
			e.Invalid(p.Child("expirationSeconds"), *n, "may not specify a duration less than 10 minutes")
		} else if n != nil && *n > maxTokenSeconds {
			e.Invalid(p.Child("expirationSeconds"), *n, "may not specify a duration larger than 2^32 seconds")
		}
	}
	for _, m := range s.VolumeLifecycleModes {
		validate.Enum(&e, fld.Child("volumeLifecycleModes"), m, storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent)
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < minUpdateSeconds {
		e.Invalidf(fld.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to %d seconds", minUpdateSeconds)
	}
	if in := s.ServiceAccountTokenInSecrets; in != nil && len(s.TokenRequests) == 0 {
		e.Invalid(fld.Child("serviceAccountTokenInSecrets"), *in, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	return e.List()
}

func validateCSIDriverUpdate(d, old *storagev1.CSIDriver) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	e.Add(apivalidation.ValidateImmutableField(d.Spec.AttachRequired, old.Spec.AttachRequired, fld.Child("attachedRequired")))
	e.Add(apivalidation.ValidateImmutableField(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, fld.Child("volumeLifecycleModes")))
	return e.List()
}

// CSINode says which drivers run on a node.
var CSINode = api.Of[storagev1.CSINode]{
	Group: storagev1.GroupName, Version: "v1", Kind: "CSINode", Resource: "csinodes",
	ReturnDeleted:         true,
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	// CSIVolumeHealth is off: nothing fills the status.
	Status: &api.Status[storagev1.CSINode]{
		KeepMetadata: true,
		PrepareUpdate: func(n, old *storagev1.CSINode) {
			if len(old.Status.StorageHealth) == 0 {
				n.Status.StorageHealth = nil
			}
		},
	},
	Validate:       validateCSINode,
	ValidateUpdate: validateCSINodeUpdate,

	Columns: []api.Column[storagev1.CSINode]{
		print.Name[storagev1.CSINode](),
		{
			Name: "Drivers", Type: "integer", Description: "Drivers indicates the number of CSI drivers registered on the node",
			Value: func(n *storagev1.CSINode) any { return int64(len(n.Spec.Drivers)) },
		},
		print.Age[storagev1.CSINode](),
	},
}

func validateCSINode(n *storagev1.CSINode) field.ErrorList {
	var e validate.Errors
	names := sets.New[string]()
	for i, d := range n.Spec.Drivers {
		p := field.NewPath("spec", "drivers").Index(i)
		e.DriverName(p.Child("name"), d.Name)
		if names.Has(d.Name) {
			e.Duplicate(p.Child("name"), d.Name)
		}
		names.Insert(d.Name)
		const longest = 256
		e.Text(p.Child("nodeID"), d.NodeID)
		if len(d.NodeID) > longest {
			e.Invalidf(p.Child("nodeID"), d.NodeID, "must be %d characters or less", longest)
		}
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			e.Nonnegative(p.Child("allocatable", "count"), int64(*d.Allocatable.Count))
		}
		keys := sets.New[string]()
		for _, key := range d.TopologyKeys {
			// Kubernetes names the driver, not the key.
			e.Text(p, key)
			if keys.Has(key) {
				e.Duplicate(p, key)
			}
			keys.Insert(key)
			e.QualifiedName(p, key)
		}
	}
	return e.List()
}

// validateCSINodeUpdate: what a driver says of itself holds while it is there.
func validateCSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	var e validate.Errors
	for _, d := range n.Spec.Drivers {
		for _, was := range old.Spec.Drivers {
			if d.Name != was.Name {
				continue
			}
			// How many volumes there is room for is found out again at times.
			was.Allocatable = d.Allocatable
			e.Add(apivalidation.ValidateImmutableField(d, was, field.NewPath("spec", "drivers")))
		}
	}
	return e.List()
}
