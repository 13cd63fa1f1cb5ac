package cronjob

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// now is a Friday.
var now = time.Date(2026, 1, 2, 10, 30, 20, 0, time.UTC)

// newCronJob makes a CronJob that was created so long ago.
func newCronJob(schedule string, age time.Duration, changes ...func(*batchv1.CronJob)) *batchv1.CronJob {
	cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cron", UID: "cron"}}
	cronJob.CreationTimestamp.Time = now.Add(-age)
	cronJob.Spec.Schedule = schedule
	cronJob.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	for _, change := range changes {
		change(cronJob)
	}
	return cronJob
}

func lastRun(at string) func(*batchv1.CronJob) {
	return func(cronJob *batchv1.CronJob) {
		last, err := time.Parse(time.DateTime, at)
		if err != nil {
			panic(err)
		}
		cronJob.Status.LastScheduleTime = &metav1.Time{Time: last}
	}
}

func policy(p batchv1.ConcurrencyPolicy) func(*batchv1.CronJob) {
	return func(cronJob *batchv1.CronJob) { cronJob.Spec.ConcurrencyPolicy = p }
}

func startingDeadline(seconds int64) func(*batchv1.CronJob) {
	return func(cronJob *batchv1.CronJob) { cronJob.Spec.StartingDeadlineSeconds = &seconds }
}

func zone(name string) func(*batchv1.CronJob) {
	return func(cronJob *batchv1.CronJob) { cronJob.Spec.TimeZone = &name }
}

func TestPlanRun(t *testing.T) {
	suspended := func(cronJob *batchv1.CronJob) { cronJob.Spec.Suspend = new(true) }
	tests := []struct {
		name    string
		cronJob *batchv1.CronJob
		active  int
		at      string
		told    string
		wait    time.Duration
	}{
		{"not yet due since it was created", newCronJob("0 * * * *", 10*time.Minute), 0, "", "", 29*time.Minute + 40*time.Second},
		{"due for the first time", newCronJob("0 * * * *", time.Hour), 0, "2026-01-02 10:00:00", "", 29*time.Minute + 40*time.Second},
		{"started already", newCronJob("0 * * * *", time.Hour, lastRun("2026-01-02 10:00:00")), 0, "", "", 29*time.Minute + 40*time.Second},
		{"of several missed ones the last", newCronJob("0 * * * *", 50*time.Hour, lastRun("2026-01-02 05:00:00")), 0, "2026-01-02 10:00:00", "", 29*time.Minute + 40*time.Second},
		{"of very many missed ones too", newCronJob("* * * * *", 500*time.Hour), 0, "2026-01-02 10:30:00", "TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew", 40 * time.Second},
		{"also when none were due lately", newCronJob("* * 1 1 *", 9000*time.Hour), 0, "2026-01-01 23:59:00", "TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew", 363*24*time.Hour + 13*time.Hour + 29*time.Minute + 40*time.Second},
		{"suspended", newCronJob("* * * * *", time.Hour, suspended), 0, "", "", 0},
		{"within its deadline", newCronJob("0 * * * *", time.Hour, startingDeadline(1900)), 0, "2026-01-02 10:00:00", "", 29*time.Minute + 40*time.Second},
		{"after its deadline", newCronJob("0 * * * *", time.Hour, startingDeadline(100)), 0, "", "MissSchedule: Missed scheduled time to start a job: Fri, 02 Jan 2026 10:00:00 +0000", 29*time.Minute + 40*time.Second},
		{"another one runs and that is allowed", newCronJob("0 * * * *", time.Hour), 1, "2026-01-02 10:00:00", "", 29*time.Minute + 40*time.Second},
		{"another one runs and that is forbidden", newCronJob("0 * * * *", time.Hour, policy(batchv1.ForbidConcurrent)), 1, "", "JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid", 29*time.Minute + 40*time.Second},
		{"another one runs and is replaced", newCronJob("0 * * * *", time.Hour, policy(batchv1.ReplaceConcurrent)), 1, "2026-01-02 10:00:00 replacing", "", 29*time.Minute + 40*time.Second},
		{"by the clocks of a place", newCronJob("0 5 * * *", time.Hour, zone("America/New_York")), 0, "2026-01-02 10:00:00", "", 23*time.Hour + 29*time.Minute + 40*time.Second},
		{"of no place", newCronJob("0 5 * * *", time.Hour, zone("Nowhere")), 0, "", `UnknownTimeZone: invalid timeZone: "Nowhere": unknown time zone Nowhere`, 0},
		{"a schedule that cannot be read", newCronJob("often", time.Hour), 0, "", `UnparseableSchedule: unparseable schedule: "often" : expected exactly 5 fields, found 1: [often]`, 0},
		{"a name for a schedule", newCronJob("@hourly", time.Hour), 0, "2026-01-02 10:00:00", "", 29*time.Minute + 40*time.Second},
		{"a day that never comes", newCronJob("0 0 31 2 *", time.Hour), 0, "", "InvalidSchedule: invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan := planRun(test.cronJob, test.active, now)
			at := ""
			if !plan.at.IsZero() {
				at = plan.at.UTC().Format(time.DateTime)
			}
			if plan.replace {
				at += " replacing"
			}
			if at != test.at {
				t.Errorf("starts at %q, want %q", at, test.at)
			}
			if got := text(plan.told); got != test.told {
				t.Errorf("tells %q, want %q", got, test.told)
			}
			want := test.wait
			if want > 0 {
				want += slack
			}
			if plan.wait != want {
				t.Errorf("waits %s, want %s", plan.wait, want)
			}
		})
	}
}

func text(told []notice) string {
	var lines []string
	for _, n := range told {
		lines = append(lines, n.reason+": "+n.message)
	}
	return strings.Join(lines, "; ")
}

// newJobs makes Jobs from words such as "a", "b:Complete" and "c:Failed", each
// started a minute after the one before.
func newJobs(words string) []*batchv1.Job {
	var jobs []*batchv1.Job
	for i, word := range strings.Fields(words) {
		name, end, _ := strings.Cut(word, ":")
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
		at := metav1.NewTime(now.Add(time.Duration(i) * time.Minute))
		job.Status.StartTime = &at
		if end != "" {
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobConditionType(end), Status: corev1.ConditionTrue}}
		}
		if end == "Complete" {
			job.Status.CompletionTime = &at
		}
		jobs = append(jobs, job)
	}
	return jobs
}

func TestPlanActive(t *testing.T) {
	tests := []struct {
		name         string
		active, jobs string
		want, lost   string
		told         string
		success      time.Duration // after now; negative: none
	}{
		{"nothing was started", "", "", "[]", "[]", "", -1},
		{"one runs", "a", "a", "[a]", "[]", "", -1},
		{"one is complete", "a b", "a:Complete b", "[b]", "[]", "SawCompletedJob: Saw completed job: a, condition: Complete", 0},
		{"one has failed", "a", "a:Failed", "[]", "[]", "SawCompletedJob: Saw completed job: a, condition: Failed", -1},
		{"the last success counts", "", "a:Complete b:Complete", "[]", "[]", "", time.Minute},
		{"one is not known", "", "a", "[]", "[]", "UnexpectedJob: Saw a job that the controller did not create or forgot: a", -1},
		{"one is not there", "a b", "b", "[a b]", "[a]", "", -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cronJob := newCronJob("* * * * *", 0)
			for _, name := range strings.Fields(test.active) {
				cronJob.Status.Active = append(cronJob.Status.Active, corev1.ObjectReference{Name: name, UID: types.UID(name)})
			}
			plan := planActive(cronJob, newJobs(test.jobs))
			if got := names(plan.active); got != test.want {
				t.Errorf("active are %s, want %s", got, test.want)
			}
			if got := names(plan.lost); got != test.lost {
				t.Errorf("lost are %s, want %s", got, test.lost)
			}
			if got := text(plan.told); got != test.told {
				t.Errorf("tells %q, want %q", got, test.told)
			}
			if (plan.success != nil) != (test.success >= 0) || (plan.success != nil && !plan.success.Time.Equal(now.Add(test.success))) {
				t.Errorf("last success %v", plan.success)
			}
		})
	}
}

func TestPlanActiveFindsWhatAnEarlierTurnStarted(t *testing.T) {
	at := now.Truncate(time.Minute)
	cronJob := newCronJob("* * * * *", time.Hour)
	job := newJob(cronJob, at)
	job.UID = "job"
	plan := planActive(cronJob, []*batchv1.Job{job})
	if names(plan.active) != fmt.Sprintf("[%s]", job.Name) || plan.started == nil || !plan.started.Time.Equal(at) || len(plan.told) > 0 {
		t.Errorf("got %+v", plan)
	}
}

func names(refs []corev1.ObjectReference) string {
	list := make([]string, 0, len(refs))
	for _, ref := range refs {
		list = append(list, ref.Name)
	}
	return fmt.Sprint(list)
}

func TestPlanHistory(t *testing.T) {
	jobs := newJobs("a:Complete b:Failed c:Complete d e:Failed f:Complete")
	tests := []struct {
		name              string
		successes, faults *int32
		want              string
	}{
		{"some of each", new(int32(2)), new(int32(1)), "a b"},
		{"none are kept", new(int32(0)), new(int32(0)), "a c f b e"},
		{"all are kept", nil, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cronJob := newCronJob("* * * * *", 0)
			cronJob.Spec.SuccessfulJobsHistoryLimit, cronJob.Spec.FailedJobsHistoryLimit = test.successes, test.faults
			var got []string
			for _, job := range planHistory(cronJob, jobs) {
				got = append(got, job.Name)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("deletes %v, want %s", got, test.want)
			}
		})
	}
}

func TestNewJob(t *testing.T) {
	cronJob := newCronJob("* * * * *", 0, zone("America/New_York"))
	cronJob.Spec.JobTemplate.Labels = map[string]string{"a": "b"}
	cronJob.Spec.JobTemplate.Annotations = map[string]string{"c": "d"}
	job := newJob(cronJob, time.Date(2026, 1, 2, 10, 30, 0, 0, time.UTC))
	if job.Name != "cron-29455830" || !metav1.IsControlledBy(job, cronJob) || job.Labels["a"] != "b" {
		t.Errorf("got %+v", job.ObjectMeta)
	}
	if got := fmt.Sprint(job.Annotations); got != "map[batch.kubernetes.io/cronjob-scheduled-timestamp:2026-01-02T05:30:00-05:00 c:d]" {
		t.Errorf("annotations %s", got)
	}
}
