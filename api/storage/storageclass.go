package storage

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	// isDefaultClass marks the class of claims that name none; the second is
	// what it was called before.
	isDefaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaIsDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"

	maxParameters     = 512
	maxParametersSize = 256 * 1024 // bytes, of keys and values together
)

// StorageClass is a way to make volumes.
var StorageClass = api.Of[storagev1.StorageClass]{
	Group: storagev1.GroupName, Version: "v1", Kind: "StorageClass", Resource: "storageclasses",
	ReturnDeleted: true,
	ShortNames:    []string{"sc"},
	ClusterScoped: true,

	Default: func(c *storagev1.StorageClass) {
		if c.ReclaimPolicy == nil {
			c.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
		}
		if c.VolumeBindingMode == nil {
			c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
		}
	},
	Validate:       validateStorageClass,
	ValidateUpdate: validateStorageClassUpdate,
	Warnings:       warnStorageClass,

	Columns: []api.Column[storagev1.StorageClass]{
		{
			Name: "Name", Format: "name", Description: print.NameDoc(),
			Value: func(c *storagev1.StorageClass) any { return c.Name },
			Among: func(c *storagev1.StorageClass, all []*storagev1.StorageClass) any {
				if c == defaultClass(all) {
					return c.Name + " (default)"
				}
				return c.Name
			},
		},
		{
			Name: "Provisioner", Description: storagev1.StorageClass{}.SwaggerDoc()["provisioner"],
			Value: func(c *storagev1.StorageClass) any { return c.Provisioner },
		},
		{
			Name: "ReclaimPolicy", Description: storagev1.StorageClass{}.SwaggerDoc()["reclaimPolicy"],
			Value: func(c *storagev1.StorageClass) any {
				return string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete))
			},
		},
		{
			Name: "VolumeBindingMode", Description: storagev1.StorageClass{}.SwaggerDoc()["volumeBindingMode"],
			Value: func(c *storagev1.StorageClass) any { return string(ptr.Deref(c.VolumeBindingMode, "<unset>")) },
		},
		{
			Name: "AllowVolumeExpansion", Description: storagev1.StorageClass{}.SwaggerDoc()["allowVolumeExpansion"],
			Value: func(c *storagev1.StorageClass) any { return ptr.Deref(c.AllowVolumeExpansion, false) },
		},
		print.Age[storagev1.StorageClass](),
	},
}

// defaultClass is the class that claims without one get: the newest of those
// that say so, by name where several are.
func defaultClass(all []*storagev1.StorageClass) *storagev1.StorageClass {
	var best *storagev1.StorageClass
	for _, c := range all {
		if c.Annotations[isDefaultClass] != "true" && c.Annotations[betaIsDefaultClass] != "true" {
			continue
		}
		if best == nil || cmp.Or(best.CreationTimestamp.Compare(c.CreationTimestamp.Time), strings.Compare(c.Name, best.Name)) < 0 {
			best = c
		}
	}
	return best
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	var e validate.Errors
	checkProvisioner(&e, c.Provisioner, field.NewPath("provisioner"))
	checkParameters(&e, c.Parameters, field.NewPath("parameters"))
	if p := ptr.Deref(c.ReclaimPolicy, ""); p != "" {
		validate.Enum(&e, field.NewPath("reclaimPolicy"), p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if m := c.VolumeBindingMode; m == nil {
		e.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		validate.Enum(&e, field.NewPath("volumeBindingMode"), *m, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	checkTopologies(&e, c.AllowedTopologies, field.NewPath("allowedTopologies"))
	return e.List()
}

func checkProvisioner(e *validate.Errors, name string, fld *field.Path) {
	if name == "" {
		e.Required(fld, name)
		return
	}
	lower := strings.ToLower(name)
	e.Messages(fld, lower, validation.IsQualifiedName(lower))
}

func checkParameters(e *validate.Errors, parameters map[string]string, fld *field.Path) {
	if len(parameters) > maxParameters {
		e.TooLong(fld, maxParameters)
		return
	}
	size := 0
	for _, key := range validate.Keys(parameters) {
		if key == "" {
			e.Invalid(fld, key, "field can not be empty.")
		}
		size += len(key) + len(parameters[key])
	}
	if size > maxParametersSize {
		e.TooLong(fld, maxParametersSize)
	}
}

func warnStorageClass(c, _ *storagev1.StorageClass) []string {
	var warnings []string
	for i, t := range c.AllowedTopologies {
		for k, x := range t.MatchLabelExpressions {
			if message, old := core.OldNodeLabel(x.Key); old {
				warnings = append(warnings, fmt.Sprintf("allowedTopologies[%d].matchLabelExpressions[%d].key: %s", i, k, message))
			}
		}
	}
	return warnings
}

func checkTopologies(e *validate.Errors, terms []corev1.TopologySelectorTerm, fld *field.Path) {
	// Kubernetes begins with as many empty ones, so that each empty term is one
	// too many.
	seen := make([]map[string]sets.Set[string], len(terms))
	for i, term := range terms {
		p, chosen := fld.Index(i), map[string]sets.Set[string]{}
		for k, req := range term.MatchLabelExpressions {
			at := p.Child("matchLabelExpressions").Index(k)
			if len(req.Values) == 0 {
				e.Required(at.Child("values"), "")
			}
			values := sets.New[string]()
			for n, v := range req.Values {
				if values.Has(v) {
					e.Duplicate(at.Child("values").Index(n), v)
				}
				values.Insert(v)
			}
			e.Add(metav1validation.ValidateLabelName(req.Key, at.Child("key")))
			if _, twice := chosen[req.Key]; twice {
				e.Duplicate(at.Child("key"), req.Key)
			}
			chosen[req.Key] = values
		}
		for _, other := range seen {
			if apiequality.Semantic.DeepEqual(other, chosen) {
				e.Duplicate(p.Child("matchLabelExpressions"), "")
			}
		}
		seen = append(seen, chosen)
	}
}

func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	var e validate.Errors
	e.Unchanged(field.NewPath("provisioner"), c.Provisioner, old.Provisioner)
	e.Unchanged(field.NewPath("parameters"), c.Parameters, old.Parameters)
	e.Unchanged(field.NewPath("reclaimPolicy"), c.ReclaimPolicy, old.ReclaimPolicy)
	e.Unchanged(field.NewPath("volumeBindingMode"), c.VolumeBindingMode, old.VolumeBindingMode)
	return e.List()
}
