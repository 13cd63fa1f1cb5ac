package batch

import (
	"fmt"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
)

// Labels that pods of jobs had before labels got domains; both are set.
const (
	legacyJobName       = "job-name"
	legacyControllerUID = "controller-uid"
)

// defaultBackoffLimit is how often the pods of a job may fail.
const defaultBackoffLimit = 6

// Job runs pods until enough have succeeded.
var Job = api.Of[batchv1.Job]{
	Group: batchv1.GroupName, Version: "v1", Kind: "Job", Resource: "jobs",
	Categories:      []string{"all"},
	Generation:      true,
	OrphanByDefault: true,
	OrphanWarning: "child pods are preserved by default when jobs are deleted; " +
		"set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",

	Default:        defaultJob,
	PrepareCreate:  prepareJob,
	PrepareUpdate:  func(j, _ *batchv1.Job) { dropDisabledFields(&j.Spec) },
	Validate:       validateJob,
	ValidateCreate: checkGeneratedSelector,
	ValidateUpdate: validateJobUpdate,
	Warnings:       warnJob,

	Status: &api.Status[batchv1.Job]{Validate: validateJobStatus},

	Fields: func(j *batchv1.Job) fields.Set {
		return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
	},
	Columns: []api.Column[batchv1.Job]{
		print.Name[batchv1.Job](),
		{Name: "Status", Description: "Status of the job.", Value: func(j *batchv1.Job) any { return jobStatus(j) }},
		{
			Name: "Completions", Description: batchv1.JobStatus{}.SwaggerDoc()["succeeded"],
			Value: func(j *batchv1.Job) any { return completions(j) },
		},
		{
			Name: "Duration", Description: "Time required to complete the job.",
			Value: func(j *batchv1.Job) any { return jobDuration(j) },
		},
		print.Age[batchv1.Job](),
		{
			Name: "Containers", Priority: 1, Description: "Names of each container in the template.",
			Value: func(j *batchv1.Job) any { return print.ContainerNames(j.Spec.Template.Spec.Containers) },
		},
		{
			Name: "Images", Priority: 1, Description: "Images referenced by each container in the template.",
			Value: func(j *batchv1.Job) any { return print.ContainerImages(j.Spec.Template.Spec.Containers) },
		},
		{
			Name: "Selector", Priority: 1, Description: batchv1.JobSpec{}.SwaggerDoc()["selector"],
			Value: func(j *batchv1.Job) any { return metav1.FormatLabelSelector(j.Spec.Selector) },
		},
	},
}

func jobStatus(j *batchv1.Job) string {
	switch {
	case hasCondition(j, batchv1.JobComplete):
		return "Complete"
	case hasCondition(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case hasCondition(j, batchv1.JobSuspended):
		return "Suspended"
	case hasCondition(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case hasCondition(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

// hasCondition tells whether a condition is there and true.
func hasCondition(j *batchv1.Job, t batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func completions(j *batchv1.Job) string {
	switch parallelism := ptr.Deref(j.Spec.Parallelism, 0); {
	case j.Spec.Completions != nil:
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	case parallelism > 1:
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallelism)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job) string {
	switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
	case start == nil:
		return ""
	case end == nil:
		return duration.HumanDuration(time.Since(start.Time))
	default:
		return duration.HumanDuration(end.Sub(start.Time))
	}
}

func defaultJob(j *batchv1.Job) {
	spec := &j.Spec
	core.DefaultPodTemplate(&spec.Template)
	defaultFailurePolicy(spec.PodFailurePolicy)
	if spec.Completions == nil && spec.Parallelism == nil {
		spec.Completions = ptr.To[int32](1)
	}
	if spec.Parallelism == nil {
		spec.Parallelism = ptr.To[int32](1)
	}
	if spec.BackoffLimit == nil {
		spec.BackoffLimit = ptr.To[int32](defaultBackoffLimit)
		if spec.BackoffLimitPerIndex != nil {
			spec.BackoffLimit = ptr.To[int32](math.MaxInt32)
		}
	}
	if len(j.Labels) == 0 && len(spec.Template.Labels) > 0 {
		// The same map, not a copy: a new job gets the labels too that
		// generateSelector adds, as on Kubernetes.
		j.Labels = spec.Template.Labels
	}
	if spec.CompletionMode == nil {
		spec.CompletionMode = ptr.To(batchv1.NonIndexedCompletion)
	}
	if spec.Suspend == nil {
		spec.Suspend = ptr.To(false)
	}
	if spec.PodReplacementPolicy == nil {
		spec.PodReplacementPolicy = ptr.To(batchv1.TerminatingOrFailed)
		if spec.PodFailurePolicy != nil {
			spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
		}
	}
	if spec.ManualSelector == nil {
		spec.ManualSelector = ptr.To(false)
	}
}

func defaultFailurePolicy(p *batchv1.PodFailurePolicy) {
	if p == nil {
		return
	}
	for i := range p.Rules {
		for k := range p.Rules[i].OnPodConditions {
			if c := &p.Rules[i].OnPodConditions[k]; c.Status == "" {
				c.Status = corev1.ConditionTrue
			}
		}
	}
}

func prepareJob(j *batchv1.Job) {
	dropDisabledFields(&j.Spec)
	generateSelector(j)
}

// dropDisabledFields clears what belongs to features that are not switched on.
func dropDisabledFields(s *batchv1.JobSpec) {
	// The scheduling of jobs as one is an alpha feature.
	s.Scheduling = nil
	core.DropDisabledPodFields(&s.Template.Spec)
}

// generateSelector makes the job find its own pods and no others, by its UID,
// unless the client takes care of that. What the client set already stays, for
// validation to judge.
func generateSelector(j *batchv1.Job) {
	if ptr.Deref(j.Spec.ManualSelector, false) {
		return
	}
	t := &j.Spec.Template
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	for key, value := range map[string]string{
		legacyJobName: j.Name, batchv1.JobNameLabel: j.Name,
		legacyControllerUID: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	} {
		if _, there := t.Labels[key]; !there {
			t.Labels[key] = value
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, there := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !there {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

func warnJob(j, old *batchv1.Job) []string {
	var warnings []string
	if old == nil {
		warnings = nameWarnings(j.Name)
	}
	if old == nil || j.Generation != old.Generation {
		warnings = append(warnings, jobSpecWarnings(&j.Spec, field.NewPath("spec"))...)
	}
	return warnings
}

// nameWarnings warns of a name that makes no good names of pods.
func nameWarnings(name string) []string {
	msgs := validation.IsDNS1123Label(name)
	if len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, "+
		"which can result in surprising behavior; a DNS label is recommended: %v", msgs)}
}

func jobSpecWarnings(spec *batchv1.JobSpec, fld *field.Path) []string {
	var warnings []string
	if ptr.Deref(spec.Completions, 0) > manyCompletions && ptr.Deref(spec.Parallelism, 0) > highParallelism {
		warnings = append(warnings, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	return append(warnings, core.PodTemplateWarnings(&spec.Template, fld.Child("template"))...)
}
