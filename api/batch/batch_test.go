package batch_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/batch"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func spec() batchv1.JobSpec {
	s := batchv1.JobSpec{}
	s.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "main:1"}}
	return s
}

// job is a new one as it comes to validation.
func job(change func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sum", Namespace: "default", UID: "u1"}, Spec: spec()}
	change(j)
	batch.Job.Default(j)
	batch.Job.PrepareCreate(j)
	return j
}

func indexed(n int32) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Spec.CompletionMode, j.Spec.Completions = ptr.To(batchv1.IndexedCompletion), &n
	}
}

func TestJobDefaults(t *testing.T) {
	j := job(func(*batchv1.Job) {})
	if *j.Spec.Completions != 1 || *j.Spec.Parallelism != 1 || *j.Spec.BackoffLimit != 6 || *j.Spec.Suspend || *j.Spec.ManualSelector ||
		*j.Spec.CompletionMode != batchv1.NonIndexedCompletion || *j.Spec.PodReplacementPolicy != batchv1.TerminatingOrFailed {
		t.Errorf("%+v", j.Spec)
	}
	if got := metav1.FormatLabelSelector(j.Spec.Selector); got != "batch.kubernetes.io/controller-uid=u1" {
		t.Error(got)
	}
	want := map[string]string{
		"batch.kubernetes.io/controller-uid": "u1", "batch.kubernetes.io/job-name": "sum", "controller-uid": "u1", "job-name": "sum",
	}
	for key, value := range want {
		if j.Spec.Template.Labels[key] != value {
			t.Errorf("label %s: %q", key, j.Spec.Template.Labels[key])
		}
	}
	labelled := job(func(j *batchv1.Job) { j.Spec.Template.Labels = map[string]string{"app": "sum"} })
	if labelled.Labels["app"] != "sum" || labelled.Labels["job-name"] != "sum" || labelled.Labels["controller-uid"] != "u1" {
		t.Errorf("labels of a job that has its template's: %v", labelled.Labels)
	}
	if own := job(func(j *batchv1.Job) { j.Labels = map[string]string{"a": "b"} }); len(own.Labels) != 1 {
		t.Errorf("labels of a job that has its own: %v", own.Labels)
	}
	queue := job(func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](4) })
	if queue.Spec.Completions != nil {
		t.Error("a work queue has no completions")
	}
}

func TestJobValidation(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*batchv1.Job)
		want   []string
	}{
		{"a plain job is valid", func(*batchv1.Job) {}, nil},
		{"pods end", func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = "" }, []string{
			`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`,
		}},
		{"counts are not negative", func(j *batchv1.Job) { j.Spec.Parallelism, j.Spec.BackoffLimit = ptr.To[int32](-1), ptr.To[int32](-2) }, []string{
			"spec.parallelism: Invalid value: -1", "spec.backoffLimit: Invalid value: -2",
		}},
		{"labels are the server's", func(j *batchv1.Job) { j.Spec.Template.Labels = map[string]string{"job-name": "other"} }, []string{
			"spec.template.metadata.labels[job-name]: Invalid value: ",
		}},
		{"an indexed job has completions", func(j *batchv1.Job) {
			j.Spec.CompletionMode, j.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](2)
		}, []string{"spec.completions: Required value: when completion mode is Indexed"}},
		{"limits per index need indexes", func(j *batchv1.Job) { j.Spec.BackoffLimitPerIndex = ptr.To[int32](1) }, []string{
			"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
		}},
		{"host names of indexes are labels", func(j *batchv1.Job) { indexed(10)(j); j.Name = strings.Repeat("a", 62) }, []string{
			"metadata.name: Invalid value: ",
		}},
		{"a failure policy is checked", func(j *batchv1.Job) {
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
				{Action: "Shrug"},
				{Action: "FailJob", OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: "In", Values: []int32{3, 0}}},
				{Action: "FailIndex", OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: "DisruptionTarget"}}},
			}}
		}, []string{
			`spec.podFailurePolicy.rules[0].action: Unsupported value: "Shrug": supported values: "Count", "FailIndex", "FailJob", "Ignore"`,
			"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
			"spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
			"spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [3,0]: must be ordered",
			`spec.podFailurePolicy.rules[2].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`,
		}},
		{"a success policy is checked", func(j *batchv1.Job) {
			indexed(5)(j)
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{
				{SucceededIndexes: ptr.To("0,2-3"), SucceededCount: ptr.To[int32](4)}, {SucceededIndexes: ptr.To("4-9")}, {},
			}}
		}, []string{
			"spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the specified",
			`spec.successPolicy.rules[1].succeededIndexes: Invalid value: "4-9": error parsing succeededIndexes: too large index: "9"`,
			"spec.successPolicy.rules[2]: Required value: at least one of succeededCount or succeededIndexes must be specified",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, batch.Job.Erase().Validate(t.Context(), job(c.change)), c.want...)
		})
	}
}

func TestJobUpdate(t *testing.T) {
	old := job(func(*batchv1.Job) {})
	image := old.DeepCopy()
	image.Spec.Template.Spec.Containers[0].Image = "main:2"
	image.Spec.Completions = ptr.To[int32](2)
	image.Spec.Parallelism = ptr.To[int32](3)
	kindtest.Errors(t, batch.Job.ValidateUpdate(image, old), "spec.completions: Invalid value: 2: field is immutable", "spec.template: Invalid value: ")

	held := job(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	placed := held.DeepCopy()
	placed.Spec.Suspend = ptr.To(false)
	placed.Spec.Template.Spec.NodeSelector = map[string]string{"zone": "a"}
	kindtest.Errors(t, batch.Job.ValidateUpdate(placed, held))
	held.Spec.Suspend = ptr.To(false)
	kindtest.Errors(t, batch.Job.ValidateUpdate(placed, held), "spec.template: Invalid value: ")

	grown := job(indexed(3))
	more := grown.DeepCopy()
	more.Spec.Completions, more.Spec.Parallelism = ptr.To[int32](5), ptr.To[int32](5)
	kindtest.Errors(t, batch.Job.ValidateUpdate(more, grown))
	more.Spec.Parallelism = ptr.To[int32](4)
	kindtest.Errors(t, batch.Job.ValidateUpdate(more, grown), "spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism")
}

func TestJobStatus(t *testing.T) {
	at := func(n int64) *metav1.Time { return ptr.To(metav1.Unix(n, 0)) }
	is := func(types ...batchv1.JobConditionType) (list []batchv1.JobCondition) {
		for _, c := range types {
			list = append(list, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
		}
		return list
	}
	running := batchv1.JobStatus{StartTime: at(10), Active: 2, Ready: ptr.To[int32](1), Succeeded: 1, Failed: 1}
	done := batchv1.JobStatus{StartTime: at(10), CompletionTime: at(20), Succeeded: 3, Conditions: is(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)}
	for _, c := range []struct {
		name     string
		old, now batchv1.JobStatus
		want     []string
	}{
		{"pods start", batchv1.JobStatus{}, running, nil},
		{"a running job keeps its start", running, func() batchv1.JobStatus { s := running; s.StartTime = at(11); return s }(), []string{
			`status.startTime: Invalid value: "1970-01-01T00:00:11Z": field is immutable for unsuspended job once set`,
		}},
		{"a resumed job starts anew", batchv1.JobStatus{StartTime: at(10), Conditions: is(batchv1.JobSuspended)}, batchv1.JobStatus{StartTime: at(11), Active: 2}, nil},
		{"a job completes", running, func() batchv1.JobStatus { s := done; s.Failed = 1; return s }(), nil},
		{"counters only count up", running, batchv1.JobStatus{StartTime: at(10)}, []string{
			"status.failed: Invalid value: 0: cannot decrease the failed counter", "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
		}},
		{"completion has its time", running, batchv1.JobStatus{
			StartTime: at(10), Succeeded: 1, Failed: 1, Conditions: is(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete),
		}, []string{"status.completionTime: Required value: completionTime is required for Complete jobs"}},
		{"a job does not end both ways", running, batchv1.JobStatus{
			StartTime: at(10), CompletionTime: at(5), Succeeded: 1, Failed: 1,
			Conditions: is(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, batchv1.JobFailureTarget, batchv1.JobFailed),
		}, []string{
			"status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions",
			"status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
			"status.completionTime: Invalid value: ",
		}},
		{"an ended job has no pods", running, func() batchv1.JobStatus { s := done; s.Failed, s.Active = 1, 1; return s }(), []string{
			"status.active: Invalid value: 1: active>0 is invalid for finished job",
		}},
		{"the end is final", done, running, []string{
			"status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
			"status.succeeded: Invalid value: 1: cannot decrease the succeeded counter",
			"status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
		}},
		{"indexes are of indexed jobs", batchv1.JobStatus{}, batchv1.JobStatus{CompletedIndexes: "0"}, []string{
			`status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := job(func(j *batchv1.Job) { j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](3), ptr.To[int32](2) })
			now := old.DeepCopy()
			old.Status, now.Status = c.old, c.now
			kindtest.Errors(t, batch.Job.Status.Validate(now, old), c.want...)
		})
	}
}

func TestJobIndexesDoNotOverlap(t *testing.T) {
	j := job(func(j *batchv1.Job) { indexed(10)(j); j.Spec.BackoffLimitPerIndex = ptr.To[int32](0) })
	j.Status.CompletedIndexes, j.Status.FailedIndexes = "0-2,7", ptr.To("3,5-8")
	kindtest.Errors(t, batch.Job.Status.Validate(j, j),
		`status.failedIndexes: Invalid value: "3,5-8": failedIndexes and completedIndexes overlap at index: 7`)
	for text, want := range map[string]string{
		"3-1": "non-increasing order, previous: 3, current: 1", "2,2": "non-increasing order, previous: 2, current: 2",
		"1-2-3": "the fragment", "a": "cannot convert string to integer", "10": "too large index",
	} {
		j.Status.CompletedIndexes, j.Status.FailedIndexes = text, nil
		kindtest.Errors(t, batch.Job.Status.Validate(j, j), `status.completedIndexes: Invalid value: "`+text+`": error parsing completedIndexes: `+want)
	}
}

func TestJobColumns(t *testing.T) {
	j := job(func(*batchv1.Job) {})
	j.Status = batchv1.JobStatus{StartTime: ptr.To(metav1.Unix(0, 0)), CompletionTime: ptr.To(metav1.NewTime(time.Unix(90, 0))), Succeeded: 1}
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	cells := batch.Job.Erase().Cells(j)
	if cells[1] != "Complete" || cells[2] != "1/1" || cells[3] != "90s" {
		t.Errorf("%v", cells)
	}
	j.Spec.Completions, j.Spec.Parallelism, j.Status.Conditions = nil, ptr.To[int32](4), nil
	if cells = batch.Job.Erase().Cells(j); cells[1] != "Running" || cells[2] != "1/1 of 4" {
		t.Errorf("%v", cells)
	}
}

func TestCronJob(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*batchv1.CronJob)
		want   []string
	}{
		{"a plain one is valid", func(*batchv1.CronJob) {}, nil},
		{"a schedule is required", func(c *batchv1.CronJob) { c.Spec.Schedule = "" }, []string{"spec.schedule: Required value"}},
		{"a schedule has five fields", func(c *batchv1.CronJob) { c.Spec.Schedule = "* * *" }, []string{
			`spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]`,
		}},
		{"names for schedules are known", func(c *batchv1.CronJob) { c.Spec.Schedule = "@hourly" }, nil},
		{"the zone is not in the schedule", func(c *batchv1.CronJob) { c.Spec.Schedule = "TZ=UTC 0 * * * *" }, []string{
			`spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`,
		}},
		{"a zone alone is no schedule", func(c *batchv1.CronJob) { c.Spec.Schedule = "TZ=UTC" }, []string{
			`spec.schedule: Invalid value: "TZ=UTC": `, `spec.schedule: Invalid value: "TZ=UTC": cannot use TZ`,
		}},
		{"a zone is known", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("Mars/Base") }, []string{
			`spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base`,
		}},
		{"a zone is no path", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("../etc") }, []string{
			`spec.timeZone: Invalid value: "../etc": unknown time zone ../etc`,
		}},
		{"names leave room for the jobs'", func(c *batchv1.CronJob) { c.Name = strings.Repeat("a", 53) }, []string{
			"metadata.name: Invalid value: ",
		}},
		{"jobs get their own selectors", func(c *batchv1.CronJob) { c.Spec.JobTemplate.Spec.Selector = &metav1.LabelSelector{} }, []string{
			"spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
		}},
		{"a policy is known", func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = "Maybe" }, []string{
			`spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, Spec: batchv1.CronJobSpec{Schedule: "*/5 * * * *"}}
			cron.Spec.JobTemplate.Spec = spec()
			c.change(cron)
			batch.CronJob.Default(cron)
			kindtest.Errors(t, append(batch.CronJob.Validate(cron), batch.CronJob.ValidateCreate(cron)...), c.want...)
		})
	}
}
