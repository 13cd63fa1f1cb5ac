package storage

import (
	"math"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxErrorText    = 1024       // bytes
	maxMetadataSize = 256 * 1024 // bytes, of keys and values together
)

// VolumeAttachment asks for a volume to be attached to a node.
var VolumeAttachment = api.Of[storagev1.VolumeAttachment]{
	Group: storagev1.GroupName, Version: "v1", Kind: "VolumeAttachment", Resource: "volumeattachments",
	ReturnDeleted:         true,
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	Validate: validateAttachment,
	ValidateUpdate: func(a, old *storagev1.VolumeAttachment) field.ErrorList {
		if apiequality.Semantic.DeepEqual(a.Spec, old.Spec) {
			return nil
		}
		return field.ErrorList{field.Invalid(field.NewPath("spec"), nil, "field is immutable")}
	},
	Status: &api.Status[storagev1.VolumeAttachment]{KeepMetadata: true, Validate: validateAttachmentStatus},

	Columns: []api.Column[storagev1.VolumeAttachment]{
		print.Name[storagev1.VolumeAttachment](),
		{
			Name: "Attacher", Format: "name", Description: storagev1.VolumeAttachmentSpec{}.SwaggerDoc()["attacher"],
			Value: func(a *storagev1.VolumeAttachment) any { return a.Spec.Attacher },
		},
		{
			Name: "PV", Description: storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"],
			Value: func(a *storagev1.VolumeAttachment) any { return ptr.Deref(a.Spec.Source.PersistentVolumeName, "") },
		},
		{
			Name: "Node", Description: storagev1.VolumeAttachmentSpec{}.SwaggerDoc()["nodeName"],
			Value: func(a *storagev1.VolumeAttachment) any { return a.Spec.NodeName },
		},
		{
			Name: "Attached", Type: "boolean", Description: storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"],
			Value: func(a *storagev1.VolumeAttachment) any { return a.Status.Attached },
		},
		print.Age[storagev1.VolumeAttachment](),
	},
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	var e validate.Errors
	fld, isNew := field.NewPath("spec"), a.ResourceVersion == ""
	if !isNew {
		e.DriverName(fld.Child("attacher"), a.Spec.Attacher)
	}
	switch s := a.Spec.Source; {
	case s.PersistentVolumeName == nil && s.InlineVolumeSpec == nil:
		e.Required(fld.Child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case s.PersistentVolumeName != nil && s.InlineVolumeSpec != nil:
		e.Forbidden(fld.Child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case s.PersistentVolumeName != nil:
		if *s.PersistentVolumeName == "" {
			e.Required(fld.Child("source", "persistentVolumeName"), "must specify non empty persistentVolumeName")
		}
		e.Name(fld.Child("source", "persistentVolumeName"), *s.PersistentVolumeName, apivalidation.NameIsDNSSubdomain)
	default:
		e.Add(core.ValidateInlineVolume(s.InlineVolumeSpec, fld.Child("source", "inlineVolumeSpec")))
	}
	e.Name(fld.Child("nodeName"), a.Spec.NodeName, apivalidation.NameIsDNSSubdomain)
	if isNew {
		checkAttacher(&e, fld.Child("attacher"), a.Spec.Attacher)
	}
	return e.List()
}

// checkAttacher checks a driver's name as Kubernetes tells it of new objects.
func checkAttacher(e *validate.Errors, p *field.Path, name string) {
	const longest = 63
	if name == "" {
		e.Required(p, "")
		return
	}
	e.Messages(p, name, content.IsDNS1123SubdomainCaseless(name)) //nolint:staticcheck // Kubernetes takes such names, and so says it
	if len(name) > longest {
		e.Add(field.ErrorList{field.TooLongCharacters(p, name, longest)})
	}
}

func validateAttachmentStatus(a, _ *storagev1.VolumeAttachment) field.ErrorList {
	var e validate.Errors
	fld, size := field.NewPath("status"), 0
	for key, value := range a.Status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxMetadataSize {
		e.TooLong(fld.Child("attachmentMetadata"), maxMetadataSize)
	}
	for _, f := range []struct {
		name  string
		value *storagev1.VolumeError
	}{{"attachError", a.Status.AttachError}, {"detachError", a.Status.DetachError}} {
		if f.value == nil {
			continue
		}
		if len(f.value.Message) > maxErrorText {
			e.TooLong(fld.Child(f.name, "message"), maxErrorText)
		}
		if code := f.value.ErrorCode; code != nil && *code < 0 {
			e.Invalid(fld.Child(f.name, "errorCode"), *code, validation.InclusiveRangeError(0, math.MaxInt32))
		}
	}
	return e.List()
}

// CSIStorageCapacity says how much room there is for a class in a part of the
// cluster.
var CSIStorageCapacity = api.Of[storagev1.CSIStorageCapacity]{
	Group: storagev1.GroupName, Version: "v1", Kind: "CSIStorageCapacity", Resource: "csistoragecapacities",
	NoUnconditionalUpdate: true,

	Validate: validateCapacity,
	ValidateUpdate: func(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
		var e validate.Errors
		e.Add(apivalidation.ValidateImmutableField(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology")))
		e.Add(apivalidation.ValidateImmutableField(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName")))
		return e.List()
	},
}

func validateCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	var e validate.Errors
	e.Name(field.NewPath("storageClassName"), c.StorageClassName, apivalidation.NameIsDNSSubdomain)
	if c.NodeTopology != nil {
		e.Add(metav1validation.ValidateLabelSelector(c.NodeTopology, metav1validation.LabelSelectorValidationOptions{}, field.NewPath("nodeTopology")))
	}
	if c.Capacity != nil {
		e.NonnegativeQuantity(field.NewPath("capacity"), *c.Capacity)
	}
	return e.List()
}
