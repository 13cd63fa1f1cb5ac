package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// unset is printed for values that nobody chose.
const unset = "<unset>"

// PersistentVolumeClaim asks for storage.
var PersistentVolumeClaim = api.Of[corev1.PersistentVolumeClaim]{
	Group: corev1.GroupName, Version: "v1", Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims",
	ReturnDeleted: true,
	ShortNames:    []string{"pvc"},

	Default:        DefaultPersistentVolumeClaim,
	PrepareCreate:  func(c *corev1.PersistentVolumeClaim) { prepareDataSource(&c.Spec, &corev1.PersistentVolumeClaimSpec{}) },
	PrepareUpdate:  func(c, old *corev1.PersistentVolumeClaim) { prepareDataSource(&c.Spec, &old.Spec) },
	Validate:       validateClaim,
	ValidateUpdate: validateClaimUpdate,
	Warnings: func(c, _ *corev1.PersistentVolumeClaim) []string {
		return append(warnBetaClass(c.Annotations), PersistentVolumeClaimSpecWarnings(field.NewPath("spec"), &c.Spec)...)
	},

	Status: &api.Status[corev1.PersistentVolumeClaim]{
		ResetOnCreate: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		},
		Validate: validateClaimStatus,
	},

	Columns: []api.Column[corev1.PersistentVolumeClaim]{
		print.Name[corev1.PersistentVolumeClaim](),
		{
			Name: "Status", Description: corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()["phase"],
			Value: func(c *corev1.PersistentVolumeClaim) any {
				if c.DeletionTimestamp != nil {
					return "Terminating"
				}
				return string(c.Status.Phase)
			},
		},
		{
			Name: "Volume", Description: corev1.PersistentVolumeClaimSpec{}.SwaggerDoc()["volumeName"],
			Value: func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName },
		},
		{
			Name: "Capacity", Description: corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()["capacity"],
			Value: func(c *corev1.PersistentVolumeClaim) any {
				if c.Spec.VolumeName == "" {
					return ""
				}
				return c.Status.Capacity.Storage().String()
			},
		},
		{
			Name: "Access Modes", Description: corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()["accessModes"],
			Value: func(c *corev1.PersistentVolumeClaim) any {
				if c.Spec.VolumeName == "" {
					return ""
				}
				return accessModes(c.Status.AccessModes)
			},
		},
		{
			Name: "StorageClass", Description: "StorageClass of the pvc",
			Value: func(c *corev1.PersistentVolumeClaim) any { return volume.GetPersistentVolumeClaimClass(c) },
		},
		{
			Name: "VolumeAttributesClass", Description: "VolumeAttributesClass of the pvc",
			Value: func(c *corev1.PersistentVolumeClaim) any { return ptr.Deref(c.Spec.VolumeAttributesClassName, unset) },
		},
		print.Age[corev1.PersistentVolumeClaim](),
		{
			Name: "VolumeMode", Priority: 1, Description: corev1.PersistentVolumeClaimSpec{}.SwaggerDoc()["volumeMode"],
			Value: func(c *corev1.PersistentVolumeClaim) any { return string(ptr.Deref(c.Spec.VolumeMode, unset)) },
		},
	},
}

// accessModes prints modes in short: "RWO,ROX".
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var parts []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"},
		{corev1.ReadOnlyMany, "ROX"},
		{corev1.ReadWriteMany, "RWX"},
		{corev1.ReadWriteOncePod, "RWOP"},
	} {
		for _, has := range modes {
			if has == m.mode {
				parts = append(parts, m.short)
				break
			}
		}
	}
	return strings.Join(parts, ",")
}

// DefaultPersistentVolumeClaim fills what a claim, or the template of one,
// leaves out.
func DefaultPersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	if c.Status.Phase == "" {
		c.Status.Phase = corev1.ClaimPending
	}
	if c.Spec.VolumeMode == nil {
		c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
	roundUp(c.Spec.Resources.Limits)
	roundUp(c.Spec.Resources.Requests)
	roundUp(c.Status.Capacity)
}

// prepareDataSource keeps the two forms of the same reference alike. A new one
// in the older form alone, to what that form is not for, is dropped; so is a
// new one to another namespace (CrossNamespaceVolumeDataSource is off).
func prepareDataSource(s, old *corev1.PersistentVolumeClaimSpec) {
	if r := s.DataSourceRef; r != nil && ptr.Deref(r.Namespace, "") != "" && old.DataSourceRef == nil {
		s.DataSourceRef = nil
	}
	if s.DataSourceRef == nil && s.DataSource != nil && old.DataSource == nil && old.DataSourceRef == nil && !isVolumeSource(s.DataSource) {
		s.DataSource = nil
	}
	from, ref := s.DataSource, s.DataSourceRef
	switch {
	case from != nil && ref == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: from.APIGroup, Kind: from.Kind, Name: from.Name}
	case from == nil && ref != nil && ptr.Deref(ref.Namespace, "") == "":
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

// isVolumeSource tells the two kinds that the older form is for.
func isVolumeSource(ref *corev1.TypedLocalObjectReference) bool {
	switch ptr.Deref(ref.APIGroup, "") {
	case "":
		return ref.Kind == "PersistentVolumeClaim"
	case "snapshot.storage.k8s.io":
		return ref.Kind == "VolumeSnapshot"
	}
	return false
}

// warnBetaClass warns of the annotation that named a class before there was a
// field.
func warnBetaClass(annotations map[string]string) []string {
	if _, old := annotations[corev1.BetaStorageClassAnnotation]; !old {
		return nil
	}
	return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated since v1.8; use \"storageClassName\" attribute instead", corev1.BetaStorageClassAnnotation)}
}

// PersistentVolumeClaimSpecWarnings warns of a size that storage cannot have.
func PersistentVolumeClaimSpecWarnings(fld *field.Path, spec *corev1.PersistentVolumeClaimSpec) []string {
	var warnings []string
	for _, l := range []struct {
		name string
		list corev1.ResourceList
	}{{"requests", spec.Resources.Requests}, {"limits", spec.Resources.Limits}} {
		if q, there := l.list[corev1.ResourceStorage]; there && q.MilliValue()%1000 != 0 {
			warnings = append(warnings, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				fld.Child("resources", l.name).Key(string(corev1.ResourceStorage)), q.String()))
		}
	}
	return warnings
}

func validateClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := ValidatePersistentVolumeClaimSpec(&c.Spec, field.NewPath("spec"))
	if c.ResourceVersion == "" {
		return errs
	}
	// Groups of sources that cannot change any more were not always checked.
	return slices.DeleteFunc(errs, func(err *field.Error) bool { return strings.HasSuffix(err.Field, ".apiGroup") })
}

// validateClaimUpdate lets a volume be bound to the claim once, a class be
// chosen where none was, and what is bound grow.
func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	var e validate.Errors
	now, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		was.VolumeName = now.VolumeName
	}
	const beta = corev1.BetaStorageClassAnnotation
	before, annotated := old.Annotations[beta]
	after, still := c.Annotations[beta]
	// The class may move from the annotation to the field.
	moves := annotated && (!still || after == before) && was.StorageClassName == nil && now.StorageClassName != nil && *now.StorageClassName == before
	if !moves && before != after {
		e.Invalid(field.NewPath("metadata", "annotations", beta), after, apivalidation.FieldImmutableErrorMsg)
	}
	if was.StorageClassName == nil && now.StorageClassName != nil && (!annotated || *now.StorageClassName == before) {
		was.StorageClassName = now.StorageClassName
	}
	if c.Status.Phase == corev1.ClaimBound {
		if now.Resources.Requests != nil {
			now.Resources.Requests[corev1.ResourceStorage] = was.Resources.Requests[corev1.ResourceStorage]
		}
		now.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	if !apiequality.Semantic.DeepEqual(now, was) {
		e.Forbidden(field.NewPath("spec"), fmt.Sprintf("spec is immutable after creation except resources.requests "+
			"and volumeAttributesClassName for bound claims\n%v", diff.Diff(*was, *now)))
	}
	newSize, oldSize, actual := c.Spec.Resources.Requests.Storage(), old.Spec.Resources.Requests.Storage(), old.Status.Capacity.Storage()
	if newSize.Cmp(*oldSize) < 0 && newSize.Cmp(*actual) <= 0 {
		e.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	e.Add(apivalidation.ValidateImmutableField(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode")))
	if class := c.Spec.VolumeAttributesClassName; old.Status.CurrentVolumeAttributesClassName != nil &&
		!apiequality.Semantic.DeepEqual(class, old.Spec.VolumeAttributesClassName) && ptr.Deref(class, "") == "" {
		to := "nil"
		if class != nil {
			to = "empty string"
		}
		e.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update to "+to+" is forbidden when status.currentVolumeAttributesClassName is not nil")
	}
	return e.List()
}

func validateClaimStatus(c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	checkPositiveList(&e, c.Status.Capacity, fld.Child("capacity"))
	checkPositiveList(&e, c.Status.AllocatedResources, fld.Child("allocatedResources"))
	for _, name := range validate.Keys(c.Status.AllocatedResourceStatuses) {
		p := fld.Child("allocatedResourceStatuses")
		if faults := validation.IsQualifiedName(string(name)); len(faults) > 0 {
			e.Messages(p, string(name), faults)
		} else if validate.IsNative(name) && name != corev1.ResourceStorage {
			e.Add(field.ErrorList{field.NotSupported(p, name, []corev1.ResourceName{corev1.ResourceStorage})})
		}
		if !slices.Contains(claimResourceStatuses, c.Status.AllocatedResourceStatuses[name]) {
			e.Add(field.ErrorList{field.NotSupported(p, name, claimResourceStatuses)})
		}
	}
	return e.List()
}

// claimResourceStatuses are the stages of growing a claim, as errors list them.
var claimResourceStatuses = slices.Sorted(slices.Values([]corev1.ClaimResourceStatus{
	corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
	corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible,
}))

// checkPositiveList checks the names of resources and that there is some.
func checkPositiveList(e *validate.Errors, list corev1.ResourceList, fld *field.Path) {
	for _, name := range validate.Keys(list) {
		p := fld.Key(string(name))
		e.ResourceName(p, name)
		checkPositive(e, list[name], p)
	}
}

func checkPositive(e *validate.Errors, q resource.Quantity, fld *field.Path) {
	if q.Sign() <= 0 {
		e.Invalid(fld, q.String(), validate.NotPositive)
	}
}
