package apps

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Deployment rolls out changes of its pods through ReplicaSets.
var Deployment = api.Of[appsv1.Deployment]{
	Group: appsv1.GroupName, Version: "v1", Kind: "Deployment", Resource: "deployments",
	ShortNames: []string{"deploy"},
	Categories: []string{"all"},
	Generation: true,

	Default:       defaultDeployment,
	PrepareCreate: func(d *appsv1.Deployment) { core.DropDisabledPodFields(&d.Spec.Template.Spec) },
	PrepareUpdate: func(d, old *appsv1.Deployment) {
		core.DropDisabledPodFields(&d.Spec.Template.Spec)
		// Annotations are a part of the desired state: they go to ReplicaSets.
		if !apiequality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
			d.Generation = old.Generation + 1
		}
	},
	Validate:       validateDeployment,
	ValidateUpdate: validateDeploymentUpdate,
	Warnings:       warnDeployment,

	Status: &api.Status[appsv1.Deployment]{Keep: []string{"labels"}, Validate: validateDeploymentStatus},
	Scale: &api.Scale[appsv1.Deployment]{
		Get: func(d *appsv1.Deployment) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus) {
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(d.Spec.Replicas, 0)}, scaleStatus(d.Status.Replicas, d.Spec.Selector)
		},
		Set:  func(d *appsv1.Deployment, replicas int32) { d.Spec.Replicas = &replicas },
		Path: replicasPath,
	},

	Columns: slices.Concat(
		[]api.Column[appsv1.Deployment]{
			print.Name[appsv1.Deployment](),
			{
				Name: "Ready", Description: "Number of the pod with ready state",
				Value: func(d *appsv1.Deployment) any {
					return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0))
				},
			},
			deploymentCount("Up-to-date", "updatedReplicas", func(s *appsv1.DeploymentStatus) int32 { return s.UpdatedReplicas }),
			deploymentCount("Available", "availableReplicas", func(s *appsv1.DeploymentStatus) int32 { return s.AvailableReplicas }),
			print.Age[appsv1.Deployment](),
		},
		templateColumns(func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template }),
		[]api.Column[appsv1.Deployment]{
			selectorColumn(appsv1.DeploymentSpec{}.SwaggerDoc()["selector"],
				func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector }),
		},
	),
}

// deploymentCount is a column of a number in the status. Its type is string,
// as Kubernetes has it.
func deploymentCount(name, in string, value func(*appsv1.DeploymentStatus) int32) api.Column[appsv1.Deployment] {
	return api.Column[appsv1.Deployment]{
		Name: name, Description: appsv1.DeploymentStatus{}.SwaggerDoc()[in],
		Value: func(d *appsv1.Deployment) any { return int64(value(&d.Status)) },
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	core.DefaultPodTemplate(&d.Spec.Template)
	if d.Spec.Replicas == nil {
		d.Spec.Replicas = ptr.To[int32](1)
	}
	strategy := &d.Spec.Strategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if strategy.RollingUpdate == nil {
			strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		if strategy.RollingUpdate.MaxUnavailable == nil {
			strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("25%"))
		}
		if strategy.RollingUpdate.MaxSurge == nil {
			strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromString("25%"))
		}
	}
	if d.Spec.RevisionHistoryLimit == nil {
		d.Spec.RevisionHistoryLimit = ptr.To[int32](historyLimit)
	}
	if d.Spec.ProgressDeadlineSeconds == nil {
		d.Spec.ProgressDeadlineSeconds = ptr.To[int32](progressSeconds)
	}
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	var e validate.Errors
	spec, fld := &d.Spec, field.NewPath("spec")
	checkOptional(&e, fld.Child("replicas"), spec.Replicas)
	selector := checkSelector(&e, spec.Selector, fld.Child("selector"), "empty selector is invalid for deployment", "invalid label selector")
	checkReplicated(&e, &spec.Template, selector, fld.Child("template"))
	checkDeploymentStrategy(&e, &spec.Strategy, fld.Child("strategy"))
	e.Nonnegative(fld.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	checkOptional(&e, fld.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit)
	if deadline := spec.ProgressDeadlineSeconds; deadline != nil {
		e.Nonnegative(fld.Child("progressDeadlineSeconds"), int64(*deadline))
		if *deadline <= spec.MinReadySeconds {
			e.Invalid(fld.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds")
		}
	}
	return e.List()
}

func checkDeploymentStrategy(e *validate.Errors, s *appsv1.DeploymentStrategy, fld *field.Path) {
	rolling := fld.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			e.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			e.Required(rolling, "this should be defaulted and never be nil")
			return
		}
		surge, unavailable := s.RollingUpdate.MaxSurge, s.RollingUpdate.MaxUnavailable
		e.IntOrPercent(rolling.Child("maxUnavailable"), unavailable)
		e.IntOrPercent(rolling.Child("maxSurge"), surge)
		if isZero(unavailable) && isZero(surge) {
			e.Invalid(rolling.Child("maxUnavailable"), ptr.Deref(unavailable, intstr.IntOrString{}), "may not be 0 when `maxSurge` is 0")
		}
		e.AtMostAll(rolling.Child("maxUnavailable"), unavailable)
	default:
		e.Add(field.ErrorList{field.NotSupported(fld, s, []string{
			string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType),
		})})
	}
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	var e validate.Errors
	s, fld := &d.Status, field.NewPath("status")
	e.Nonnegative(fld.Child("observedGeneration"), s.ObservedGeneration)
	e.Nonnegative(fld.Child("replicas"), int64(s.Replicas))
	e.Nonnegative(fld.Child("updatedReplicas"), int64(s.UpdatedReplicas))
	e.Nonnegative(fld.Child("readyReplicas"), int64(s.ReadyReplicas))
	e.Nonnegative(fld.Child("availableReplicas"), int64(s.AvailableReplicas))
	e.Nonnegative(fld.Child("unavailableReplicas"), int64(s.UnavailableReplicas))
	checkOptional(&e, fld.Child("terminatingReplicas"), s.TerminatingReplicas)
	if s.UpdatedReplicas > s.Replicas {
		e.Invalid(fld.Child("updatedReplicas"), s.UpdatedReplicas, aboveReplicas)
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
	checkCollisions(&e, s.CollisionCount, old.Status.CollisionCount)
	return e.List()
}

func warnDeployment(d, old *appsv1.Deployment) []string {
	var warnings []string
	if old == nil {
		warnings = nameWarnings(d.Name)
	} else if d.Generation == old.Generation {
		return nil
	}
	return append(warnings, core.PodTemplateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))...)
}
