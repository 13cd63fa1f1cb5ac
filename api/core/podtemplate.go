package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// PodTemplate is the kind: a template on its own, for those who make pods by
// themselves.
var PodTemplate = api.Of[corev1.PodTemplate]{
	Group: "", Version: "v1", Kind: "PodTemplate", Resource: "podtemplates",
	ReturnDeleted: true,
	Generation:    true,
	Default:       func(t *corev1.PodTemplate) { DefaultPodTemplate(&t.Template) },

	PrepareCreate: func(t *corev1.PodTemplate) { DropDisabledPodFields(&t.Template.Spec) },
	PrepareUpdate: func(t, _ *corev1.PodTemplate) { DropDisabledPodFields(&t.Template.Spec) },
	Validate: func(t *corev1.PodTemplate) field.ErrorList {
		return ValidatePodTemplate(&t.Template, field.NewPath("template"))
	},
	Warnings: func(t, old *corev1.PodTemplate) []string {
		if old != nil && old.Generation == t.Generation {
			return nil
		}
		return PodTemplateWarnings(&t.Template, field.NewPath("template"))
	},

	Columns: []api.Column[corev1.PodTemplate]{
		print.Name[corev1.PodTemplate](),
		{
			Name: "Containers", Description: "Names of each container in the template.",
			Value: func(t *corev1.PodTemplate) any { return print.ContainerNames(t.Template.Spec.Containers) },
		},
		{
			Name: "Images", Description: "Images referenced by each container in the template.",
			Value: func(t *corev1.PodTemplate) any { return print.ContainerImages(t.Template.Spec.Containers) },
		},
		{
			Name: "Pod Labels", Description: "The labels for the pod template.",
			Value: func(t *corev1.PodTemplate) any { return labels.FormatLabels(t.Template.Labels) },
		},
	},
}
