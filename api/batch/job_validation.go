package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/validate"
)

// Bounds that keep a job's status of a size that can be stored
// (https://kubernetes.io/docs/concepts/workloads/controllers/job/).
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	manyCompletions       = 100_000 // above, the next two hold when indexes may fail each
	highParallelism       = 10_000
	highFailedIndexes     = 10_000
	maxManagedBy          = 63
)

func validateJob(j *batchv1.Job) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	checkJobSpec(&e, &j.Spec, fld)
	if j.Spec.Selector == nil {
		e.Required(fld.Child("selector"), "")
	} else {
		e.Add(metav1validation.ValidateLabelSelector(j.Spec.Selector, metav1validation.LabelSelectorValidationOptions{}, fld.Child("selector")))
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(labels.Set(j.Spec.Template.Labels)) {
		e.Invalid(fld.Child("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`")
	}
	if n := ptr.Deref(j.Spec.Completions, 0); isIndexed(&j.Spec) && n > 0 {
		// The last index makes the longest host name.
		if host := fmt.Sprintf("%s-%d", j.Name, n-1); len(validation.IsDNS1123Label(host)) > 0 {
			e.Invalidf(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: %s", host)
		}
	}
	return e.List()
}

func isIndexed(spec *batchv1.JobSpec) bool {
	return ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// checkGeneratedSelector checks that the client set none of the labels that
// the server does, or set them as the server would.
func checkGeneratedSelector(j *batchv1.Job) field.ErrorList {
	var e validate.Errors
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	e.Text(field.NewPath("metadata", "uid"), string(j.UID))
	expected := labels.Set{}
	for _, l := range []struct{ key, value string }{
		{batchv1.ControllerUidLabel, string(j.UID)}, {batchv1.JobNameLabel, j.Name},
		{legacyControllerUID, string(j.UID)}, {legacyJobName, j.Name},
	} {
		expected[l.key] = l.value
		p := field.NewPath("spec", "template", "metadata", "labels").Key(l.key)
		actual, there := j.Spec.Template.Labels[l.key]
		if !there {
			e.Required(p, fmt.Sprintf("must be '%s'", l.value))
		}
		if actual != l.value {
			e.Invalidf(p, j.Spec.Template.Labels, "must be '%s'", l.value)
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(expected) {
		e.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated")
	}
	return e.List()
}

// checkJobSpec checks what the specs of jobs and of their templates share.
func checkJobSpec(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	checkOptional(e, fld.Child("parallelism"), spec.Parallelism)
	checkOptional(e, fld.Child("completions"), spec.Completions)
	checkOptional(e, fld.Child("activeDeadlineSeconds"), spec.ActiveDeadlineSeconds)
	checkOptional(e, fld.Child("backoffLimit"), spec.BackoffLimit)
	checkOptional(e, fld.Child("ttlSecondsAfterFinished"), spec.TTLSecondsAfterFinished)
	checkOptional(e, fld.Child("backoffLimitPerIndex"), spec.BackoffLimitPerIndex)
	checkOptional(e, fld.Child("maxFailedIndexes"), spec.MaxFailedIndexes)
	if spec.MaxFailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		e.Required(fld.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if by := spec.ManagedBy; by != nil {
		e.Add(validation.IsDomainPrefixedPath(fld.Child("managedBy"), *by))
		if len(*by) > maxManagedBy {
			e.TooLong(fld.Child("managedBy"), maxManagedBy)
		}
	}
	if mode := spec.CompletionMode; mode != nil {
		validate.Enum(e, fld.Child("completionMode"), *mode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	}
	if isIndexed(spec) {
		checkIndexed(e, spec, fld)
	} else if spec.CompletionMode == nil || *spec.CompletionMode == batchv1.NonIndexedCompletion {
		const indexed = "requires indexed completion mode"
		if spec.BackoffLimitPerIndex != nil {
			e.Invalid(fld.Child("backoffLimitPerIndex"), *spec.BackoffLimitPerIndex, indexed)
		}
		if spec.MaxFailedIndexes != nil {
			e.Invalid(fld.Child("maxFailedIndexes"), *spec.MaxFailedIndexes, indexed)
		}
	}
	if spec.PodFailurePolicy != nil {
		checkFailurePolicy(e, spec, fld.Child("podFailurePolicy"))
	}
	if spec.SuccessPolicy != nil {
		if isIndexed(spec) {
			checkSuccessPolicy(e, spec, fld.Child("successPolicy"))
		} else {
			e.Invalid(fld.Child("successPolicy"), *spec.SuccessPolicy, "requires indexed completion mode")
		}
	}
	checkReplacementPolicy(e, spec, fld.Child("podReplacementPolicy"))
	e.Add(core.ValidatePodTemplate(&spec.Template, fld.Child("template")))
	checkEnds(e, spec, fld.Child("template", "spec", "restartPolicy"))
}

// checkOptional checks a number that may be left out and not be negative.
func checkOptional[N int32 | int64](e *validate.Errors, fld *field.Path, n *N) {
	if n != nil {
		e.Nonnegative(fld, int64(*n))
	}
}

func checkIndexed(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	parallelism, failed := ptr.Deref(spec.Parallelism, 0), ptr.Deref(spec.MaxFailedIndexes, 0)
	if spec.Completions == nil {
		e.Required(fld.Child("completions"), "when completion mode is Indexed")
	}
	if parallelism > maxIndexedParallelism {
		e.Invalidf(fld.Child("parallelism"), parallelism, "must be less than or equal to %d when completion mode is Indexed", maxIndexedParallelism)
	}
	if spec.Completions != nil && failed > *spec.Completions {
		e.Invalid(fld.Child("maxFailedIndexes"), failed, "must be less than or equal to completions")
	}
	if failed > maxFailedIndexes {
		e.Invalidf(fld.Child("maxFailedIndexes"), failed, "must be less than or equal to %d", maxFailedIndexes)
	}
	if ptr.Deref(spec.Completions, 0) <= manyCompletions || spec.BackoffLimitPerIndex == nil {
		return
	}
	const bound = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	if spec.MaxFailedIndexes == nil {
		e.Required(fld.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions))
	}
	if parallelism > highParallelism {
		e.Invalidf(fld.Child("parallelism"), parallelism, bound, highParallelism, manyCompletions)
	}
	if failed > highFailedIndexes {
		e.Invalidf(fld.Child("maxFailedIndexes"), failed, bound, highFailedIndexes, manyCompletions)
	}
}

// checkReplacementPolicy: failures can only be judged once pods have ended, so
// with a failure policy they are not replaced before.
func checkReplacementPolicy(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	switch policy := spec.PodReplacementPolicy; {
	case policy == nil:
	case spec.PodFailurePolicy != nil:
		validate.Enum(e, fld, *policy, batchv1.Failed)
	default:
		validate.Enum(e, fld, *policy, batchv1.Failed, batchv1.TerminatingOrFailed)
	}
}

// checkEnds checks that the pods end by themselves. Always is what an empty
// policy was defaulted to, hence the message.
func checkEnds(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	switch policy := spec.Template.Spec.RestartPolicy; {
	case policy == corev1.RestartPolicyAlways || policy == "":
		e.Required(fld, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	case policy != corev1.RestartPolicyOnFailure && policy != corev1.RestartPolicyNever:
		validate.Enum(e, fld, policy, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	case spec.PodFailurePolicy != nil && policy != corev1.RestartPolicyNever:
		e.Invalidf(fld, policy, "only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever)
	}
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	var e validate.Errors
	spec, was, fld := &j.Spec, &old.Spec, field.NewPath("spec")
	fixed := func(now, before any, name string) {
		e.Add(apivalidation.ValidateImmutableField(now, before, fld.Child(name)))
	}
	checkCompletionsUpdate(&e, spec, was, fld)
	fixed(spec.Selector, was.Selector, "selector")
	fixed(&spec.Template, updatedTemplate(j, old), "template")
	fixed(spec.CompletionMode, was.CompletionMode, "completionMode")
	fixed(spec.PodFailurePolicy, was.PodFailurePolicy, "podFailurePolicy")
	fixed(spec.BackoffLimitPerIndex, was.BackoffLimitPerIndex, "backoffLimitPerIndex")
	fixed(spec.ManagedBy, was.ManagedBy, "managedBy")
	fixed(spec.SuccessPolicy, was.SuccessPolicy, "successPolicy")
	fixed(spec.Scheduling, was.Scheduling, "scheduling")
	return e.List()
}

// checkCompletionsUpdate lets an indexed job grow and shrink as a whole.
func checkCompletionsUpdate(e *validate.Errors, spec, was *batchv1.JobSpec, fld *field.Path) {
	if !isIndexed(spec) {
		e.Add(apivalidation.ValidateImmutableField(spec.Completions, was.Completions, fld.Child("completions")))
		return
	}
	if spec.Completions == nil || ptr.Equal(spec.Completions, was.Completions) {
		return
	}
	if *spec.Completions != ptr.Deref(spec.Parallelism, 0) {
		e.Invalidf(fld.Child("completions"), *spec.Completions, "can only be modified in tandem with %s", fld.Child("parallelism"))
	}
}

// updatedTemplate is the old template with what may change of it taken from
// the new one: where pods run and what they get, while none of them do.
func updatedTemplate(j, old *batchv1.Job) *corev1.PodTemplateSpec {
	if !isIdle(old) {
		return &old.Spec.Template
	}
	now, t := &j.Spec.Template, old.Spec.Template.DeepCopy()
	t.Labels, t.Annotations = now.Labels, now.Annotations
	t.Spec.NodeSelector = now.Spec.NodeSelector
	t.Spec.Tolerations = now.Spec.Tolerations
	t.Spec.SchedulingGates = now.Spec.SchedulingGates
	if a := now.Spec.Affinity; a != nil {
		if t.Spec.Affinity == nil {
			t.Spec.Affinity = &corev1.Affinity{}
		}
		t.Spec.Affinity.NodeAffinity = a.NodeAffinity
	} else if was := t.Spec.Affinity; was != nil {
		was.NodeAffinity = nil
		if apiequality.Semantic.DeepEqual(was, &corev1.Affinity{}) {
			t.Spec.Affinity = nil
		}
	}
	takeResources(t.Spec.Containers, now.Spec.Containers)
	takeResources(t.Spec.InitContainers, now.Spec.InitContainers)
	return t
}

func takeResources(containers, from []corev1.Container) {
	for i := range containers {
		if i < len(from) && from[i].Name == containers[i].Name {
			containers[i].Resources = from[i].Resources
		}
	}
}

// isIdle tells jobs that were suspended and have no pods.
func isIdle(j *batchv1.Job) bool {
	if !ptr.Deref(j.Spec.Suspend, false) {
		return false
	}
	return (j.Status.StartTime == nil || hasCondition(j, batchv1.JobSuspended)) && j.Status.Active == 0
}
