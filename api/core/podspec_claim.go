package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

// ValidatePersistentVolumeClaimSpec checks a claim, and that which an ephemeral
// volume becomes.
func ValidatePersistentVolumeClaimSpec(spec *corev1.PersistentVolumeClaimSpec, fld *field.Path) field.ErrorList {
	var e validate.Errors
	modes := fld.Child("accessModes")
	if len(spec.AccessModes) == 0 {
		e.Required(modes, "at least 1 access mode is required")
	}
	e.Add(metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, fld.Child("selector")))
	for _, m := range spec.AccessModes {
		validate.Enum(&e, modes, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
	}
	if len(spec.AccessModes) > 1 && slices.Contains(spec.AccessModes, corev1.ReadWriteOncePod) &&
		slices.ContainsFunc(spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool { return m != corev1.ReadWriteOncePod }) {
		e.Forbidden(modes, "may not use ReadWriteOncePod with other access modes")
	}
	at := fld.Child("resources").Key(string(corev1.ResourceStorage))
	if q, set := spec.Resources.Requests[corev1.ResourceStorage]; !set {
		e.Required(at, "")
	} else {
		if q.Sign() > 0 {
			e.ResourceValue(at, corev1.ResourceStorage, q)
		} else {
			e.Invalid(at, q.String(), validate.NotPositive)
		}
	}
	if c := spec.StorageClassName; c != nil && *c != "" {
		e.Name(fld.Child("storageClassName"), *c, apivalidation.NameIsDNSSubdomain)
	}
	if m := spec.VolumeMode; m != nil {
		validate.Enum(&e, fld.Child("volumeMode"), *m, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	if s := spec.DataSource; s != nil {
		checkDataSource(&e, fld.Child("dataSource"), s.APIGroup, s.Kind, s.Name)
	}
	checkDataSourceRef(&e, spec, fld)
	if c := spec.VolumeAttributesClassName; c != nil && *c != "" {
		e.Name(fld.Child("volumeAttributesClassName"), *c, apivalidation.NameIsDNSSubdomain)
	}
	return e.List()
}

// checkDataSourceRef checks the newer form of the same reference.
func checkDataSourceRef(e *validate.Errors, spec *corev1.PersistentVolumeClaimSpec, fld *field.Path) {
	from, ref := spec.DataSource, spec.DataSourceRef
	if ref == nil {
		return
	}
	p, elsewhere := fld.Child("dataSourceRef"), ptr.Deref(ref.Namespace, "") != ""
	checkDataSource(e, p, ref.APIGroup, ref.Kind, ref.Name)
	if elsewhere {
		e.Name(p.Child("namespace"), *ref.Namespace, apivalidation.ValidateNamespaceName)
	}
	switch {
	case from == nil:
	case elsewhere:
		e.Invalid(fld, fld.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
	case from.Kind != ref.Kind || from.Name != ref.Name || ptr.Deref(from.APIGroup, "") != ptr.Deref(ref.APIGroup, ""):
		e.Invalid(fld, fld.Child("dataSource"), "must match dataSourceRef")
	}
}

// checkDataSource checks what a new volume is filled from.
func checkDataSource(e *validate.Errors, p *field.Path, group *string, kind, name string) {
	e.Text(p.Child("name"), name)
	e.Text(p.Child("kind"), kind)
	if (group == nil || *group == "") && kind != "PersistentVolumeClaim" {
		e.Invalid(p, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
	}
	if group != nil && *group != "" {
		e.DNSSubdomain(p.Child("apiGroup"), *group)
	}
}
