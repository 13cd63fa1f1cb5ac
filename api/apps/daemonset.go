package apps

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// DaemonSet keeps one pod on each node.
var DaemonSet = api.Of[appsv1.DaemonSet]{
	Group: appsv1.GroupName, Version: "v1", Kind: "DaemonSet", Resource: "daemonsets",
	ChangeFirst: true,
	ShortNames:  []string{"ds"},
	Categories:  []string{"all"},
	Generation:  true,

	Default:        defaultDaemonSet,
	PrepareCreate:  prepareDaemonSet,
	PrepareUpdate:  prepareDaemonSetUpdate,
	Validate:       validateDaemonSet,
	ValidateUpdate: validateDaemonSetUpdate,
	Warnings:       warnDaemonSet,

	Status: &api.Status[appsv1.DaemonSet]{PrepareUpdate: keepTemplateGeneration, Validate: validateDaemonSetStatus},

	Columns: slices.Concat(
		[]api.Column[appsv1.DaemonSet]{
			print.Name[appsv1.DaemonSet](),
			daemonSetCount("Desired", "desiredNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
			daemonSetCount("Current", "currentNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
			daemonSetCount("Ready", "numberReady", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
			daemonSetCount("Up-to-date", "updatedNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
			daemonSetCount("Available", "numberAvailable", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
			{
				Name: "Node Selector", Description: corev1.PodSpec{}.SwaggerDoc()["nodeSelector"],
				Value: func(d *appsv1.DaemonSet) any { return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector) },
			},
			print.Age[appsv1.DaemonSet](),
		},
		templateColumns(func(d *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &d.Spec.Template }),
		[]api.Column[appsv1.DaemonSet]{
			selectorColumn(appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"],
				func(d *appsv1.DaemonSet) *metav1.LabelSelector { return d.Spec.Selector }),
		},
	),
}

func daemonSetCount(name, in string, value func(*appsv1.DaemonSetStatus) int32) api.Column[appsv1.DaemonSet] {
	return integer(name, appsv1.DaemonSetStatus{}.SwaggerDoc()[in], func(d *appsv1.DaemonSet) int32 { return value(&d.Status) })
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	if _, there := d.Annotations[appsv1.DeprecatedTemplateGeneration]; !there {
		setTemplateGeneration(d, 0)
	}
	core.DefaultPodTemplate(&d.Spec.Template)
	strategy := &d.Spec.UpdateStrategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if strategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if strategy.RollingUpdate == nil {
			strategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		if strategy.RollingUpdate.MaxUnavailable == nil {
			strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(1))
		}
		if strategy.RollingUpdate.MaxSurge == nil {
			strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
		}
	}
	if d.Spec.RevisionHistoryLimit == nil {
		d.Spec.RevisionHistoryLimit = ptr.To[int32](historyLimit)
	}
}

// setTemplateGeneration sets the number of the template, which lives in an
// annotation since apps/v1 has no field for it.
func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, _ := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	return n
}

// keepTemplateGeneration sets it to what it was, whatever the client sent.
func keepTemplateGeneration(d, old *appsv1.DaemonSet) {
	setTemplateGeneration(d, templateGeneration(old))
}

func prepareDaemonSet(d *appsv1.DaemonSet) {
	core.DropDisabledPodFields(&d.Spec.Template.Spec)
	setTemplateGeneration(d, max(templateGeneration(d), 1))
}

func prepareDaemonSetUpdate(d, old *appsv1.DaemonSet) {
	core.DropDisabledPodFields(&d.Spec.Template.Spec)
	n := templateGeneration(old)
	if !apiequality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		n++
	}
	setTemplateGeneration(d, n)
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	var e validate.Errors
	spec, fld := &d.Spec, field.NewPath("spec")
	e.Add(metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, fld.Child("selector")))
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		e.Invalid(fld.Child("template", "metadata", "labels"), spec.Template.Labels, mismatch)
	}
	if spec.Selector != nil && len(spec.Selector.MatchLabels)+len(spec.Selector.MatchExpressions) == 0 {
		e.Invalid(fld.Child("selector"), spec.Selector, "empty selector is invalid for daemonset")
	}
	e.Add(core.ValidatePodTemplate(&spec.Template, fld.Child("template")))
	checkRunsForever(&e, &spec.Template, fld.Child("template"), "DaemonSet")
	e.Nonnegative(fld.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	checkDaemonSetStrategy(&e, &spec.UpdateStrategy, fld.Child("updateStrategy"))
	checkOptional(&e, fld.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit)
	return e.List()
}

func checkDaemonSetStrategy(e *validate.Errors, s *appsv1.DaemonSetUpdateStrategy, fld *field.Path) {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		checkRollingDaemonSet(e, s.RollingUpdate, fld.Child("rollingUpdate"))
	default:
		e.Add(field.ErrorList{field.NotSupported(fld, s, []string{
			string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType),
		})})
	}
}

func checkRollingDaemonSet(e *validate.Errors, r *appsv1.RollingUpdateDaemonSet, fld *field.Path) {
	if r == nil {
		e.Required(fld, "")
		return
	}
	e.IntOrPercent(fld.Child("maxUnavailable"), r.MaxUnavailable)
	e.IntOrPercent(fld.Child("maxSurge"), r.MaxSurge)
	e.AtMostAll(fld.Child("maxUnavailable"), r.MaxUnavailable)
	e.AtMostAll(fld.Child("maxSurge"), r.MaxSurge)
	switch unavailable, surge := !isZero(r.MaxUnavailable), !isZero(r.MaxSurge); {
	case unavailable && surge:
		e.Invalid(fld.Child("maxSurge"), *r.MaxSurge, "may not be set when maxUnavailable is non-zero")
	case !unavailable && !surge:
		e.Required(fld.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
	}
}

func validateDaemonSetUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	return apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	var e validate.Errors
	s, fld := &d.Status, field.NewPath("status")
	e.Nonnegative(fld.Child("currentNumberScheduled"), int64(s.CurrentNumberScheduled))
	e.Nonnegative(fld.Child("numberMisscheduled"), int64(s.NumberMisscheduled))
	e.Nonnegative(fld.Child("desiredNumberScheduled"), int64(s.DesiredNumberScheduled))
	e.Nonnegative(fld.Child("numberReady"), int64(s.NumberReady))
	e.Nonnegative(fld.Child("observedGeneration"), s.ObservedGeneration)
	e.Nonnegative(fld.Child("updatedNumberScheduled"), int64(s.UpdatedNumberScheduled))
	e.Nonnegative(fld.Child("numberAvailable"), int64(s.NumberAvailable))
	e.Nonnegative(fld.Child("numberUnavailable"), int64(s.NumberUnavailable))
	checkCollisions(&e, s.CollisionCount, old.Status.CollisionCount)
	return e.List()
}

func warnDaemonSet(d, old *appsv1.DaemonSet) []string {
	if old != nil && templateGeneration(d) == templateGeneration(old) {
		return nil
	}
	return core.PodTemplateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))
}
