package apps

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ReplicaSet keeps a number of pods of one template.
var ReplicaSet = api.Of[appsv1.ReplicaSet]{
	Group: appsv1.GroupName, Version: "v1", Kind: "ReplicaSet", Resource: "replicasets",
	ShortNames: []string{"rs"},
	Categories: []string{"all"},
	Generation: true,

	Default:        defaultReplicaSet,
	PrepareCreate:  func(r *appsv1.ReplicaSet) { core.DropDisabledPodFields(&r.Spec.Template.Spec) },
	PrepareUpdate:  func(r, _ *appsv1.ReplicaSet) { core.DropDisabledPodFields(&r.Spec.Template.Spec) },
	Validate:       validateReplicaSet,
	ValidateUpdate: validateReplicaSetUpdate,
	Warnings:       warnReplicaSet,

	Status: &api.Status[appsv1.ReplicaSet]{Validate: validateReplicaSetStatus},
	Scale: &api.Scale[appsv1.ReplicaSet]{
		Get: func(r *appsv1.ReplicaSet) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus) {
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(r.Spec.Replicas, 0)}, scaleStatus(r.Status.Replicas, r.Spec.Selector)
		},
		Set:  func(r *appsv1.ReplicaSet, replicas int32) { r.Spec.Replicas = &replicas },
		Path: replicasPath,
	},

	Columns: slices.Concat(
		[]api.Column[appsv1.ReplicaSet]{
			print.Name[appsv1.ReplicaSet](),
			integer("Desired", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"],
				func(r *appsv1.ReplicaSet) int32 { return ptr.Deref(r.Spec.Replicas, 0) }),
			integer("Current", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"],
				func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas }),
			integer("Ready", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"],
				func(r *appsv1.ReplicaSet) int32 { return r.Status.ReadyReplicas }),
			print.Age[appsv1.ReplicaSet](),
		},
		templateColumns(func(r *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &r.Spec.Template }),
		[]api.Column[appsv1.ReplicaSet]{
			selectorColumn(appsv1.ReplicaSetSpec{}.SwaggerDoc()["selector"],
				func(r *appsv1.ReplicaSet) *metav1.LabelSelector { return r.Spec.Selector }),
		},
	),
}

func defaultReplicaSet(r *appsv1.ReplicaSet) {
	core.DefaultPodTemplate(&r.Spec.Template)
	if r.Spec.Replicas == nil {
		r.Spec.Replicas = ptr.To[int32](1)
	}
}

func validateReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	var e validate.Errors
	spec, fld := &r.Spec, field.NewPath("spec")
	checkOptional(&e, fld.Child("replicas"), spec.Replicas)
	e.Nonnegative(fld.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	// The message names deployments, as Kubernetes' does.
	selector := checkSelector(&e, spec.Selector, fld.Child("selector"), "empty selector is invalid for deployment", "invalid label selector")
	checkReplicated(&e, &spec.Template, selector, fld.Child("template"))
	return e.List()
}

func validateReplicaSetUpdate(r, old *appsv1.ReplicaSet) field.ErrorList {
	return apivalidation.ValidateImmutableField(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	var e validate.Errors
	s, fld := &r.Status, field.NewPath("status")
	e.Nonnegative(fld.Child("replicas"), int64(s.Replicas))
	e.Nonnegative(fld.Child("fullyLabeledReplicas"), int64(s.FullyLabeledReplicas))
	e.Nonnegative(fld.Child("readyReplicas"), int64(s.ReadyReplicas))
	e.Nonnegative(fld.Child("availableReplicas"), int64(s.AvailableReplicas))
	e.Nonnegative(fld.Child("observedGeneration"), s.ObservedGeneration)
	checkOptional(&e, fld.Child("terminatingReplicas"), s.TerminatingReplicas)
	if s.FullyLabeledReplicas > s.Replicas {
		e.Invalid(fld.Child("fullyLabeledReplicas"), s.FullyLabeledReplicas, aboveReplicas)
	}
	if s.ReadyReplicas > s.Replicas {
		e.Invalid(fld.Child("readyReplicas"), s.ReadyReplicas, aboveReplicas)
	}
	if s.AvailableReplicas > s.Replicas {
		e.Invalid(fld.Child("availableReplicas"), s.AvailableReplicas, aboveReplicas)
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		e.Invalid(fld.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
	}
	return e.List()
}

func warnReplicaSet(r, old *appsv1.ReplicaSet) []string {
	var warnings []string
	if old == nil {
		warnings = nameWarnings(r.Name)
	} else if r.Generation == old.Generation {
		return nil
	}
	return append(warnings, core.PodTemplateWarnings(&r.Spec.Template, field.NewPath("spec", "template"))...)
}
