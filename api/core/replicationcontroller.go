package core

import (
	"maps"
	"strconv"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ReplicationController is the kind that ReplicaSet came after.
var ReplicationController = api.Of[corev1.ReplicationController]{
	Group: "", Version: "v1", Kind: "ReplicationController", Resource: "replicationcontrollers",
	ShortNames: []string{"rc"},
	Categories: []string{"all"},
	Generation: true,
	Default:    defaultReplicationController,

	PrepareCreate:   func(rc *corev1.ReplicationController) { dropTemplateFields(rc.Spec.Template) },
	PrepareUpdate:   func(rc, _ *corev1.ReplicationController) { dropTemplateFields(rc.Spec.Template) },
	NameValidation:  validate.LongName,
	Validate:        validateReplicationController,
	Warnings:        warnReplicationController,
	OrphanByDefault: true,

	Status: &api.Status[corev1.ReplicationController]{
		Validate: func(rc, _ *corev1.ReplicationController) field.ErrorList {
			return validateReplicationControllerStatus(&rc.Status)
		},
	},
	Scale: &api.Scale[corev1.ReplicationController]{
		Get: func(rc *corev1.ReplicationController) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus) {
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(rc.Spec.Replicas, 1)}, autoscalingv1.ScaleStatus{
				Replicas: rc.Status.Replicas,
				Selector: labels.SelectorFromSet(rc.Spec.Selector).String(),
			}
		},
		Set:  func(rc *corev1.ReplicationController, replicas int32) { rc.Spec.Replicas = &replicas },
		Path: []string{"spec", "replicas"},
	},

	Fields: func(rc *corev1.ReplicationController) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(rc.Status.Replicas))}
	},
	Columns: []api.Column[corev1.ReplicationController]{
		print.Name[corev1.ReplicationController](),
		{
			Name: "Desired", Type: "integer", Description: corev1.ReplicationControllerSpec{}.SwaggerDoc()["replicas"],
			Value: func(rc *corev1.ReplicationController) any { return int64(ptr.Deref(rc.Spec.Replicas, 1)) },
		},
		{
			Name: "Current", Type: "integer", Description: corev1.ReplicationControllerStatus{}.SwaggerDoc()["replicas"],
			Value: func(rc *corev1.ReplicationController) any { return int64(rc.Status.Replicas) },
		},
		{
			Name: "Ready", Type: "integer", Description: corev1.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"],
			Value: func(rc *corev1.ReplicationController) any { return int64(rc.Status.ReadyReplicas) },
		},
		print.Age[corev1.ReplicationController](),
		{
			Name: "Containers", Priority: 1, Description: "Names of each container in the template.",
			Value: func(rc *corev1.ReplicationController) any { return print.ContainerNames(templateContainers(rc)) },
		},
		{
			Name: "Images", Priority: 1, Description: "Images referenced by each container in the template.",
			Value: func(rc *corev1.ReplicationController) any { return print.ContainerImages(templateContainers(rc)) },
		},
		{
			Name: "Selector", Priority: 1, Description: corev1.ReplicationControllerSpec{}.SwaggerDoc()["selector"],
			Value: func(rc *corev1.ReplicationController) any { return labels.FormatLabels(rc.Spec.Selector) },
		},
	},
}

func templateContainers(rc *corev1.ReplicationController) []corev1.Container {
	if rc.Spec.Template == nil {
		return nil
	}
	return rc.Spec.Template.Spec.Containers
}

func dropTemplateFields(t *corev1.PodTemplateSpec) {
	if t != nil {
		DropDisabledPodFields(&t.Spec)
	}
}

// defaultReplicationController fills what a client left out: without a
// selector or labels, the template's labels are both.
func defaultReplicationController(rc *corev1.ReplicationController) {
	setPtr(&rc.Spec.Replicas, 1)
	t := rc.Spec.Template
	if t == nil {
		return
	}
	DefaultPodTemplate(t)
	if t.Labels == nil {
		return
	}
	if len(rc.Spec.Selector) == 0 {
		rc.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(rc.Labels) == 0 {
		rc.Labels = maps.Clone(t.Labels)
	}
}

func validateReplicationController(rc *corev1.ReplicationController) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	if n := rc.Spec.Replicas; n == nil {
		e.Required(fld.Child("replicas"), "")
	} else {
		e.Nonnegative(fld.Child("replicas"), int64(*n))
	}
	e.Nonnegative(fld.Child("minReadySeconds"), int64(rc.Spec.MinReadySeconds))
	if len(rc.Spec.Selector) == 0 {
		e.Required(fld.Child("selector"), "")
	}
	t, p := rc.Spec.Template, fld.Child("template")
	if t == nil {
		e.Required(p, "")
		return e.List()
	}
	if len(rc.Spec.Selector) > 0 && !labels.SelectorFromSet(rc.Spec.Selector).Matches(labels.Set(t.Labels)) {
		e.Invalid(p.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	e.Add(ValidatePodTemplate(t, p))
	validate.Enum(&e, p.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	if t.Spec.ActiveDeadlineSeconds != nil {
		e.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
	}
	return e.List()
}

func validateReplicationControllerStatus(s *corev1.ReplicationControllerStatus) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	e.Nonnegative(fld.Child("replicas"), int64(s.Replicas))
	e.Nonnegative(fld.Child("fullyLabeledReplicas"), int64(s.FullyLabeledReplicas))
	e.Nonnegative(fld.Child("readyReplicas"), int64(s.ReadyReplicas))
	e.Nonnegative(fld.Child("availableReplicas"), int64(s.AvailableReplicas))
	e.Nonnegative(fld.Child("observedGeneration"), s.ObservedGeneration)
	atMost := func(name string, n, limit int32, msg string) {
		if n > limit {
			e.Invalid(fld.Child(name), n, msg)
		}
	}
	const ofAll = "cannot be greater than status.replicas"
	atMost("fullyLabeledReplicas", s.FullyLabeledReplicas, s.Replicas, ofAll)
	atMost("readyReplicas", s.ReadyReplicas, s.Replicas, ofAll)
	atMost("availableReplicas", s.AvailableReplicas, s.Replicas, ofAll)
	atMost("availableReplicas", s.AvailableReplicas, s.ReadyReplicas, "cannot be greater than readyReplicas")
	return e.List()
}

func warnReplicationController(rc, old *corev1.ReplicationController) []string {
	if old != nil && old.Generation == rc.Generation {
		return nil
	}
	w := &warnings{}
	if msgs := utilvalidation.IsDNS1123Label(rc.Name); old == nil && len(msgs) > 0 {
		w.add(field.NewPath("metadata", "name"),
			"this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs)
	}
	return append(w.list, PodTemplateWarnings(rc.Spec.Template, field.NewPath("template"))...)
}
