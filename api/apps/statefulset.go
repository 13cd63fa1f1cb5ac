package apps

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// StatefulSet keeps pods that have names and storage of their own.
var StatefulSet = api.Of[appsv1.StatefulSet]{
	Group: appsv1.GroupName, Version: "v1", Kind: "StatefulSet", Resource: "statefulsets",
	ShortNames: []string{"sts"},
	Categories: []string{"all"},
	Generation: true,

	NameValidation: apivalidation.NameIsDNSLabel,
	Default:        defaultStatefulSet,
	PrepareCreate:  func(s *appsv1.StatefulSet) { core.DropDisabledPodFields(&s.Spec.Template.Spec) },
	PrepareUpdate:  func(s, _ *appsv1.StatefulSet) { core.DropDisabledPodFields(&s.Spec.Template.Spec) },
	Validate:       validateStatefulSet,
	ValidateCreate: checkServiceName,
	ValidateUpdate: validateStatefulSetUpdate,
	Warnings:       warnStatefulSet,

	Status: &api.Status[appsv1.StatefulSet]{Validate: validateStatefulSetStatus},
	Scale: &api.Scale[appsv1.StatefulSet]{
		Get: func(s *appsv1.StatefulSet) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus) {
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(s.Spec.Replicas, 0)}, scaleStatus(s.Status.Replicas, s.Spec.Selector)
		},
		Set:  func(s *appsv1.StatefulSet, replicas int32) { s.Spec.Replicas = &replicas },
		Path: replicasPath,
	},

	Columns: slices.Concat(
		[]api.Column[appsv1.StatefulSet]{
			print.Name[appsv1.StatefulSet](),
			{
				Name: "Ready", Description: "Number of the pod with ready state",
				Value: func(s *appsv1.StatefulSet) any {
					return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, ptr.Deref(s.Spec.Replicas, 0))
				},
			},
			print.Age[appsv1.StatefulSet](),
		},
		templateColumns(func(s *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &s.Spec.Template }),
	),
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	core.DefaultPodTemplate(&s.Spec.Template)
	if s.Spec.PodManagementPolicy == "" {
		s.Spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	strategy := &s.Spec.UpdateStrategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		if strategy.RollingUpdate == nil {
			strategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
	}
	if r := strategy.RollingUpdate; strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && r != nil {
		if r.Partition == nil {
			r.Partition = ptr.To[int32](0)
		}
		if r.MaxUnavailable == nil {
			r.MaxUnavailable = ptr.To(intstr.FromInt32(1))
		}
	}
	if s.Spec.PersistentVolumeClaimRetentionPolicy == nil {
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	retention := s.Spec.PersistentVolumeClaimRetentionPolicy
	if retention.WhenDeleted == "" {
		retention.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if retention.WhenScaled == "" {
		retention.WhenScaled = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if s.Spec.Replicas == nil {
		s.Spec.Replicas = ptr.To[int32](1)
	}
	if s.Spec.RevisionHistoryLimit == nil {
		s.Spec.RevisionHistoryLimit = ptr.To[int32](historyLimit)
	}
	for i := range s.Spec.VolumeClaimTemplates {
		core.DefaultPersistentVolumeClaim(&s.Spec.VolumeClaimTemplates[i])
		// Templates are shown with what each is a template of.
		s.Spec.VolumeClaimTemplates[i].APIVersion = corev1.SchemeGroupVersion.String()
		s.Spec.VolumeClaimTemplates[i].Kind = "PersistentVolumeClaim"
	}
}

func validateStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	var e validate.Errors
	spec, fld := &s.Spec, field.NewPath("spec")
	switch spec.PodManagementPolicy {
	case "":
		e.Required(fld.Child("podManagementPolicy"), "")
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		e.Invalid(fld.Child("podManagementPolicy"), spec.PodManagementPolicy, "must be 'OrderedReady' or 'Parallel'")
	}
	checkStatefulSetStrategy(&e, &spec.UpdateStrategy, fld.Child("updateStrategy"))
	if r := spec.PersistentVolumeClaimRetentionPolicy; r != nil {
		p := fld.Child("persistentVolumeClaimRetentionPolicy")
		checkRetention(&e, r.WhenDeleted, p.Child("whenDeleted"))
		checkRetention(&e, r.WhenScaled, p.Child("whenScaled"))
	}
	checkOptional(&e, fld.Child("replicas"), spec.Replicas)
	e.Nonnegative(fld.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	if spec.Ordinals != nil {
		e.Nonnegative(fld.Child("ordinals.start"), int64(spec.Ordinals.Start))
	}
	if s.ResourceVersion == "" { // later they stay as they are
		for i := range spec.VolumeClaimTemplates {
			e.Add(core.ValidatePersistentVolumeClaimSpec(&spec.VolumeClaimTemplates[i].Spec, fld.Child("volumeClaimTemplates").Index(i).Child("spec")))
		}
	}
	selector := checkSelector(&e, spec.Selector, fld.Child("selector"), "empty selector is invalid for statefulset", "")
	if selector != nil {
		checkMatches(&e, &spec.Template, selector, fld.Child("template"))
		e.Add(core.ValidatePodTemplate(withClaimVolumes(spec), fld.Child("template")))
	}
	checkRunsForever(&e, &spec.Template, fld.Child("template"), "StatefulSet")
	return e.List()
}

// withClaimVolumes is the template with the volumes that each pod gets from
// the claim templates, which its containers may mount.
func withClaimVolumes(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := spec.Template.DeepCopy()
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		claim := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}}
		same := func(v corev1.Volume) bool { return v.Name == name }
		if j := slices.IndexFunc(t.Spec.Volumes, same); j >= 0 {
			t.Spec.Volumes[j] = claim
		} else {
			t.Spec.Volumes = append(t.Spec.Volumes, claim)
		}
	}
	return t
}

func checkStatefulSetStrategy(e *validate.Errors, s *appsv1.StatefulSetUpdateStrategy, fld *field.Path) {
	r, rolling := s.RollingUpdate, fld.Child("rollingUpdate")
	switch s.Type {
	case "":
		e.Required(fld, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if r != nil {
			e.Invalid(rolling, r, "only allowed for updateStrategy 'RollingUpdate'")
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r == nil {
			return
		}
		checkOptional(e, rolling.Child("partition"), r.Partition)
		if r.MaxUnavailable != nil {
			p := rolling.Child("maxUnavailable")
			e.IntOrPercent(p, r.MaxUnavailable)
			if isZero(r.MaxUnavailable) {
				e.Invalid(p, *r.MaxUnavailable, "cannot be 0")
			}
			e.AtMostAll(p, r.MaxUnavailable)
		}
	default:
		e.Invalid(fld, s, "must be 'RollingUpdate' or 'OnDelete'")
	}
}

func checkRetention(e *validate.Errors, p appsv1.PersistentVolumeClaimRetentionPolicyType, fld *field.Path) {
	validate.Enum(e, fld, p, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
}

// checkServiceName checks what no update may change.
func checkServiceName(s *appsv1.StatefulSet) field.ErrorList {
	var e validate.Errors
	if s.Spec.ServiceName != "" {
		e.DNSLabel(field.NewPath("spec", "serviceName"), s.Spec.ServiceName)
	}
	return e.List()
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	for _, f := range []struct {
		name     string
		now, was any
	}{
		{"selector", s.Spec.Selector, old.Spec.Selector},
		{"volumeClaimTemplates", s.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates},
		{"serviceName", s.Spec.ServiceName, old.Spec.ServiceName},
		{"podManagementPolicy", s.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy},
	} {
		e.Add(apivalidation.ValidateImmutableField(f.now, f.was, fld.Child(f.name)))
	}
	return e.List()
}

func validateStatefulSetStatus(set, old *appsv1.StatefulSet) field.ErrorList {
	var e validate.Errors
	s, fld := &set.Status, field.NewPath("status")
	e.Nonnegative(fld.Child("replicas"), int64(s.Replicas))
	e.Nonnegative(fld.Child("readyReplicas"), int64(s.ReadyReplicas))
	e.Nonnegative(fld.Child("currentReplicas"), int64(s.CurrentReplicas))
	e.Nonnegative(fld.Child("updatedReplicas"), int64(s.UpdatedReplicas))
	e.Nonnegative(fld.Child("availableReplicas"), int64(s.AvailableReplicas))
	e.Nonnegative(fld.Child("observedGeneration"), s.ObservedGeneration)
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"readyReplicas", s.ReadyReplicas},
		{"currentReplicas", s.CurrentReplicas},
		{"updatedReplicas", s.UpdatedReplicas},
		{"availableReplicas", s.AvailableReplicas},
	} {
		if n.value > s.Replicas {
			e.Invalid(fld.Child(n.name), n.value, aboveReplicas)
		}
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		e.Invalid(fld.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas")
	}
	checkCollisions(&e, s.CollisionCount, old.Status.CollisionCount)
	return e.List()
}

func warnStatefulSet(s, old *appsv1.StatefulSet) []string {
	var warnings []string
	if old == nil || s.Generation != old.Generation {
		warnings = core.PodTemplateWarnings(&s.Spec.Template, field.NewPath("spec", "template"))
		for i := range s.Spec.VolumeClaimTemplates {
			warnings = append(warnings, core.PersistentVolumeClaimSpecWarnings(
				field.NewPath("spec", "volumeClaimTemplates").Index(i), &s.Spec.VolumeClaimTemplates[i].Spec)...)
		}
	}
	if limit := s.Spec.RevisionHistoryLimit; limit != nil && *limit < 0 {
		warnings = append(warnings, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return warnings
}
