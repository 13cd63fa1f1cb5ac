package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// RuntimeClass is a handler of the container runtime, and what it takes.
var RuntimeClass = api.Of[nodev1.RuntimeClass]{
	Group: nodev1.GroupName, Version: "v1", Kind: "RuntimeClass", Resource: "runtimeclasses",
	FreeFinalizers:        true,
	CreateOnUpdate:        true,
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	Validate:       validateRuntimeClass,
	ValidateCreate: func(c *nodev1.RuntimeClass) field.ErrorList { return checkHandler(c, content.IsDNS1123Label) },
	ValidateUpdate: func(c, old *nodev1.RuntimeClass) field.ErrorList {
		var e validate.Errors
		if c.Handler != "" {
			e.Add(checkHandler(c, validation.IsDNS1123Label))
		}
		e.Unchanged(field.NewPath("handler"), c.Handler, old.Handler)
		if c.Handler == "" {
			e.Required(field.NewPath("handler"), "")
		}
		return e.List()
	},

	Columns: []api.Column[nodev1.RuntimeClass]{
		print.Name[nodev1.RuntimeClass](),
		{
			Name:  "Handler",
			Value: func(c *nodev1.RuntimeClass) any { return c.Handler },
		},
		print.Age[nodev1.RuntimeClass](),
	},
}

// checkHandler checks the name of a handler, by a check whose messages are those
// of Kubernetes: new objects are told of bytes, changed ones of characters.
func checkHandler(c *nodev1.RuntimeClass, check func(string) []string) field.ErrorList {
	var e validate.Errors
	if c.Handler == "" {
		e.Required(field.NewPath("handler"), "")
	} else {
		e.Messages(field.NewPath("handler"), c.Handler, check(c.Handler))
	}
	return e.List()
}

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	var e validate.Errors
	if c.Overhead != nil {
		fld := field.NewPath("overhead", "limits") // as Kubernetes says it, which checks it as a container's
		for _, name := range validate.Keys(c.Overhead.PodFixed) {
			e.ContainerResourceName(fld.Key(string(name)), name)
			e.ResourceValue(fld.Key(string(name)), name, c.Overhead.PodFixed[name])
		}
	}
	s := c.Scheduling
	if s == nil {
		return e.List()
	}
	fld := field.NewPath("scheduling")
	e.Add(metav1validation.ValidateLabels(s.NodeSelector, fld.Child("nodeSelector")))
	e.Add(core.ValidateTolerations(s.Tolerations, fld.Child("tolerations")))
	for i, t := range s.Tolerations {
		same := func(other corev1.Toleration) bool { return apiequality.Semantic.DeepEqual(t, other) }
		if slices.ContainsFunc(s.Tolerations[:i], same) {
			e.Duplicate(fld.Child("tolerations").Index(i), t)
		}
	}
	return e.List()
}
