package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

// validateJobStatus holds whoever counts pods to what a job's end means: that
// it is reached once, by one of the two ways, and that nothing changes after.
func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	var e validate.Errors
	checkCounts(&e, j)
	checkUncounted(&e, j)
	checkConditionsTogether(&e, j)
	checkTimes(&e, j)
	if isFinished(j) {
		checkFinished(&e, j)
	}
	checkStatusIndexes(&e, j)
	checkStatusChange(&e, j, old)
	return e.List()
}

var status = field.NewPath("status")

func isFinished(j *batchv1.Job) bool {
	return hasCondition(j, batchv1.JobComplete) || hasCondition(j, batchv1.JobFailed)
}

func checkCounts(e *validate.Errors, j *batchv1.Job) {
	s := &j.Status
	e.Nonnegative(status.Child("active"), int64(s.Active))
	e.Nonnegative(status.Child("succeeded"), int64(s.Succeeded))
	e.Nonnegative(status.Child("failed"), int64(s.Failed))
	checkOptional(e, status.Child("ready"), s.Ready)
	checkOptional(e, status.Child("terminating"), s.Terminating)
	if s.Ready != nil && *s.Ready > s.Active {
		e.Invalid(status.Child("ready"), *s.Ready, "cannot set more ready pods than active")
	}
}

func checkUncounted(e *validate.Errors, j *batchv1.Job) {
	if j.Status.UncountedTerminatedPods == nil {
		return
	}
	seen := sets.New[types.UID]()
	list := func(uids []types.UID, fld *field.Path) {
		for i, uid := range uids {
			switch {
			case uid == "":
				e.Invalid(fld.Index(i), uid, "must not be empty")
			case seen.Has(uid):
				e.Duplicate(fld.Index(i), uid)
			}
			seen.Insert(uid)
		}
	}
	list(j.Status.UncountedTerminatedPods.Succeeded, status.Child("uncountedTerminatedPods", "succeeded"))
	list(j.Status.UncountedTerminatedPods.Failed, status.Child("uncountedTerminatedPods", "failed"))
}

// checkConditionsTogether checks which conditions exclude or need each other.
func checkConditionsTogether(e *validate.Errors, j *batchv1.Job) {
	complete, failed := hasCondition(j, batchv1.JobComplete), hasCondition(j, batchv1.JobFailed)
	failing, met := hasCondition(j, batchv1.JobFailureTarget), hasCondition(j, batchv1.JobSuccessCriteriaMet)
	for _, c := range []struct {
		wrong  bool
		detail string
	}{
		{complete && failed, "cannot set Complete=True and Failed=true conditions"},
		{complete && failing, "cannot set Complete=True and FailureTarget=true conditions"},
		{failed && !failing, "cannot set Failed=True condition without the FailureTarget=true condition"},
		{complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{met && failing, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
	} {
		if c.wrong {
			e.Invalid(status.Child("conditions"), field.OmitValueType{}, c.detail)
		}
	}
}

func checkTimes(e *validate.Errors, j *batchv1.Job) {
	start, end, fld := j.Status.StartTime, j.Status.CompletionTime, status.Child("completionTime")
	switch complete := hasCondition(j, batchv1.JobComplete); {
	case end != nil && !complete:
		e.Invalid(fld, end, "cannot set completionTime when there is no Complete=True condition")
	case end == nil && complete:
		e.Required(fld, "completionTime is required for Complete jobs")
	}
	if start != nil && end != nil && end.Before(start) {
		e.Invalid(fld, end, "completionTime cannot be set before startTime")
	}
}

// checkFinished checks that a job that has ended has no pods left.
func checkFinished(e *validate.Errors, j *batchv1.Job) {
	s := &j.Status
	if s.Active > 0 {
		e.Invalid(status.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	if n := ptr.Deref(s.Terminating, 0); n > 0 {
		e.Invalid(status.Child("terminating"), n, "terminating>0 is invalid for finished job")
	}
	// A suspended job of zero completions ends without having begun.
	begins := !ptr.Deref(j.Spec.Suspend, false) || ptr.Deref(j.Spec.Completions, 1) != 0
	if s.StartTime == nil && begins {
		e.Required(status.Child("startTime"), "startTime is required for finished job")
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		e.Invalid(status.Child("uncountedTerminatedPods"), u, "uncountedTerminatedPods needs to be empty for finished job")
	}
}

func checkStatusIndexes(e *validate.Errors, j *batchv1.Job) {
	s := &j.Status
	if s.CompletedIndexes != "" && !isIndexed(&j.Spec) {
		e.Invalid(status.Child("completedIndexes"), s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if j.Spec.BackoffLimitPerIndex == nil && s.FailedIndexes != nil {
		e.Invalid(status.Child("failedIndexes"), *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if j.Spec.Completions == nil {
		return
	}
	completed, err := parseIndexes(s.CompletedIndexes, *j.Spec.Completions)
	if err != nil {
		e.Invalidf(status.Child("completedIndexes"), s.CompletedIndexes, "error parsing completedIndexes: %s", err)
	}
	if s.FailedIndexes == nil {
		return
	}
	failed, err := parseIndexes(*s.FailedIndexes, *j.Spec.Completions)
	if err != nil {
		e.Invalidf(status.Child("failedIndexes"), *s.FailedIndexes, "error parsing failedIndexes: %s", err)
	}
	if i, both := completed.overlap(failed); both {
		e.Invalidf(status.Child("failedIndexes"), *s.FailedIndexes, "failedIndexes and completedIndexes overlap at index: %d", i)
	}
}

func checkStatusChange(e *validate.Errors, j, old *batchv1.Job) {
	conditions := status.Child("conditions")
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if hasCondition(old, t) && !hasCondition(j, t) {
			e.Invalidf(conditions, field.OmitValueType{}, "cannot disable the terminal %s=True condition", t)
		}
	}
	if j.Status.Failed < old.Status.Failed {
		e.Invalid(status.Child("failed"), j.Status.Failed, "cannot decrease the failed counter")
	}
	// An indexed job that is made smaller counts less.
	if j.Status.Succeeded < old.Status.Succeeded && !ptr.Equal(j.Spec.Parallelism, j.Spec.Completions) {
		e.Invalid(status.Child("succeeded"), j.Status.Succeeded, "cannot decrease the succeeded counter")
	}
	if was, is := old.Status.CompletionTime, j.Status.CompletionTime; was != nil && is != nil && !was.Equal(is) {
		e.Invalid(status.Child("completionTime"), is, apivalidation.FieldImmutableErrorMsg)
	}
	// Time runs anew for a Job that is resumed.
	resumed := hasCondition(old, batchv1.JobSuspended) && !hasCondition(j, batchv1.JobSuspended)
	if was := old.Status.StartTime; was != nil && !was.Equal(j.Status.StartTime) && !ptr.Deref(j.Spec.Suspend, false) && !resumed {
		e.Invalid(status.Child("startTime"), j.Status.StartTime, "field is immutable for unsuspended job once set")
	}
	before, now := hasCondition(old, batchv1.JobSuccessCriteriaMet), hasCondition(j, batchv1.JobSuccessCriteriaMet)
	if before && !now {
		e.Invalid(conditions, field.OmitValueType{}, "cannot disable the SuccessCriteriaMet=True condition")
	}
	if hasCondition(old, batchv1.JobComplete) && !before && now {
		e.Invalid(conditions, field.OmitValueType{}, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
}
