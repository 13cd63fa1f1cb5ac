package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// notice is an event to send.
type notice struct{ kind, reason, message string }

func normal(reason, format string, args ...any) notice {
	return notice{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) notice {
	return notice{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// finished returns how a Job ended; empty while it has not.
func finished(job *batchv1.Job) batchv1.JobConditionType {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// activePlan is what has become of the Jobs that a CronJob has started.
type activePlan struct {
	active  []corev1.ObjectReference
	started *metav1.Time // the schedule's time of the last one
	success *metav1.Time // the last one
	told    []notice

	// lost are those of active that are not among the Jobs: the server knows.
	lost []corev1.ObjectReference
}

// scheduledAt is the time of its schedule that a CronJob made a Job for; not ok
// when somebody else made it.
func scheduledAt(cronJob *batchv1.CronJob, job *batchv1.Job) (at time.Time, ok bool) {
	at, err := time.Parse(time.RFC3339, job.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	return at, err == nil && job.Name == jobName(cronJob, at)
}

func jobName(cronJob *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", cronJob.Name, at.Unix()/60)
}

func reference(job *batchv1.Job) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job",
		Namespace: job.Namespace, Name: job.Name, UID: job.UID, ResourceVersion: job.ResourceVersion,
	}
}

// planActive goes through a CronJob's Jobs: which of them still run. One that
// was started in a turn whose status was not written is found by its name.
func planActive(cronJob *batchv1.CronJob, jobs []*batchv1.Job) activePlan {
	plan := activePlan{active: slices.Clone(cronJob.Status.Active), started: cronJob.Status.LastScheduleTime, success: cronJob.Status.LastSuccessfulTime}
	isActive := func(uid types.UID) bool {
		return slices.ContainsFunc(plan.active, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
	}
	known := map[types.UID]bool{}
	for _, job := range jobs {
		known[job.UID] = true
		end, active := finished(job), isActive(job.UID)
		at, scheduled := scheduledAt(cronJob, job)
		if scheduled && (plan.started == nil || plan.started.Time.Before(at)) {
			plan.started = ptr.To(metav1.NewTime(at))
		}
		switch {
		case end == "" && !active && scheduled:
			plan.active = append(plan.active, reference(job))
		case end == "" && !active:
			plan.told = append(plan.told, warning("UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", job.Name))
		case end != "" && active:
			plan.active = slices.DeleteFunc(plan.active, func(ref corev1.ObjectReference) bool { return ref.UID == job.UID })
			plan.told = append(plan.told, normal("SawCompletedJob", "Saw completed job: %s, condition: %v", job.Name, end))
		}
		if at := job.Status.CompletionTime; end == batchv1.JobComplete && at != nil && (plan.success == nil || plan.success.Before(at)) {
			plan.success = at
		}
	}
	for _, ref := range plan.active {
		if !known[ref.UID] {
			plan.lost = append(plan.lost, ref)
		}
	}
	return plan
}

// runPlan is what a CronJob's schedule asks for now.
type runPlan struct {
	at      time.Time // of the Job to start, zero: none
	replace bool      // delete the active ones before
	told    []notice
	wait    time.Duration // until the schedule's next time
}

// planRun decides whether to start a Job. Of several times that have passed
// only the last one counts.
func planRun(cronJob *batchv1.CronJob, active int, now time.Time) runPlan {
	if ptr.Deref(cronJob.Spec.Suspend, false) {
		return runPlan{}
	}
	if zone := cronJob.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			return runPlan{told: []notice{warning("UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err)}}
		}
	}
	schedule, err := parse(cronJob)
	if err != nil {
		return runPlan{told: []notice{warning("UnparseableSchedule", "unparseable schedule: %q : %s", cronJob.Spec.Schedule, err)}}
	}
	next := schedule.Next(now)
	if next.IsZero() {
		return runPlan{told: []notice{warning("InvalidSchedule", "invalid schedule: %s : %s", cronJob.Spec.Schedule, errNever)}}
	}
	plan := runPlan{wait: next.Sub(now) + slack}
	if strings.Contains(cronJob.Spec.Schedule, "TZ") {
		plan.told = append(plan.told, warning("UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", cronJob.Spec.Schedule))
	}
	at, missed := due(cronJob, schedule, now)
	if missed > manyMissed {
		plan.told = append(plan.told, warning("TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"))
	}
	switch {
	case at.IsZero():
		if late := tooLate(cronJob, schedule, now); !late.IsZero() {
			plan.told = append(plan.told, warning("MissSchedule", "Missed scheduled time to start a job: %s", late.UTC().Format(time.RFC1123Z)))
		}
	case cronJob.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && active > 0:
		plan.told = append(plan.told, normal("JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid"))
	default:
		plan.at = at
		plan.replace = cronJob.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent
	}
	return plan
}

// tooLate returns the latest time that has passed since the last run and that
// startingDeadlineSeconds does not let be made up for; zero when there is none.
func tooLate(cronJob *batchv1.CronJob, schedule cron.Schedule, now time.Time) time.Time {
	if cronJob.Spec.StartingDeadlineSeconds == nil {
		return time.Time{}
	}
	patient := cronJob.DeepCopy()
	patient.Spec.StartingDeadlineSeconds = nil
	at, _ := due(patient, schedule, now)
	return at
}

// newJob returns the Job of a CronJob for a time of its schedule. Its name is
// the same whenever it is made, so that there is but one for each time.
func newJob(cronJob *batchv1.CronJob, at time.Time) *batchv1.Job {
	template := cronJob.Spec.JobTemplate.DeepCopy()
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	local := at
	if cronJob.Spec.TimeZone != nil {
		if zone, err := time.LoadLocation(*cronJob.Spec.TimeZone); err == nil {
			local = at.In(zone)
		}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = local.Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       cronJob.Namespace,
			Name:            jobName(cronJob, at),
			Labels:          maps.Clone(template.Labels),
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cronJob, kind)},
		},
		Spec: template.Spec,
	}
}

// planHistory returns the finished Jobs beyond the limits, the oldest.
func planHistory(cronJob *batchv1.CronJob, jobs []*batchv1.Job) []*batchv1.Job {
	beyond := func(end batchv1.JobConditionType, limit *int32) []*batchv1.Job {
		if limit == nil {
			return nil
		}
		ended := slices.DeleteFunc(slices.Clone(jobs), func(job *batchv1.Job) bool { return finished(job) != end || job.DeletionTimestamp != nil })
		slices.SortFunc(ended, func(a, b *batchv1.Job) int {
			startA, startB := ptr.Deref(a.Status.StartTime, metav1.Time{}), ptr.Deref(b.Status.StartTime, metav1.Time{})
			return cmp.Or(startA.Compare(startB.Time), cmp.Compare(a.Name, b.Name))
		})
		return ended[:max(0, len(ended)-int(*limit))]
	}
	return append(beyond(batchv1.JobComplete, cronJob.Spec.SuccessfulJobsHistoryLimit), beyond(batchv1.JobFailed, cronJob.Spec.FailedJobsHistoryLimit)...)
}
