package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers"
)

func newCronJob(name string) *batchv1.CronJob {
	cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	cronJob.Spec.Schedule = "* * * * *"
	cronJob.Spec.JobTemplate.Labels = map[string]string{"cron": name}
	cronJob.Spec.JobTemplate.Spec.Template.Spec = template(name, "image").Spec
	cronJob.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return cronJob
}

// jobsOf lists the Jobs of a CronJob, the oldest first.
func jobsOf(t *testing.T, c client.Client, cronJob *batchv1.CronJob) []batchv1.Job {
	t.Helper()
	var list batchv1.JobList
	if err := c.List(t.Context(), &list, client.InNamespace("default"), client.MatchingLabels{"cron": cronJob.Name}); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b batchv1.Job) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

// nextJob steps the clock by a minute, has the CronJob looked at and waits for
// so many Jobs.
func nextJob(t *testing.T, c client.Client, clock *clocktesting.FakeClock, cronJob *batchv1.CronJob, want int) []batchv1.Job {
	t.Helper()
	clock.Step(time.Minute)
	change(t, c, cronJob, func() { cronJob.Spec.Suspend = new(true) })
	change(t, c, cronJob, func() { cronJob.Spec.Suspend = new(false) })
	return hasJobs(t, c, cronJob, want)
}

// hasJobs waits for so many Jobs of a CronJob.
func hasJobs(t *testing.T, c client.Client, cronJob *batchv1.CronJob, want int) []batchv1.Job {
	t.Helper()
	var jobs []batchv1.Job
	eventually(t, func() string {
		if jobs = jobsOf(t, c, cronJob); len(jobs) != want {
			return fmt.Sprintf("%d jobs, want %d", len(jobs), want)
		}
		return ""
	})
	return jobs
}

// complete makes a Job complete, as the Job controller would.
func complete(t *testing.T, c client.Client, job *batchv1.Job) {
	t.Helper()
	at := metav1.Now()
	eventually(t, func() string {
		get(t, c, job)
		job.Status.StartTime, job.Status.CompletionTime, job.Status.Succeeded = &at, &at, 1
		job.Status.Conditions = []batchv1.JobCondition{
			{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue}, {Type: batchv1.JobComplete, Status: corev1.ConditionTrue},
		}
		if err := c.Status().Update(t.Context(), job); err != nil {
			return err.Error()
		}
		return ""
	})
}

func TestCronJob(t *testing.T) {
	// Ten minutes ahead of the server, so that what is created now is due.
	clock := clocktesting.NewFakeClock(time.Now().Add(10 * time.Minute))
	c := startWith(t, controllers.Config{Clock: clock, Controllers: []string{"cronjob-controller"}})
	allowPods(t, c)

	t.Run("starts one job for the last time that is due", func(t *testing.T) {
		cronJob := newCronJob("starts")
		create(t, c, cronJob)
		eventually(t, func() string {
			get(t, c, cronJob)
			if len(cronJob.Status.Active) != 1 || cronJob.Status.LastScheduleTime == nil {
				return fmt.Sprintf("status %+v", cronJob.Status)
			}
			return ""
		})
		jobs := jobsOf(t, c, cronJob)
		at := clock.Now().Truncate(time.Minute)
		if len(jobs) != 1 || jobs[0].Name != fmt.Sprintf("starts-%d", at.Unix()/60) || !metav1.IsControlledBy(&jobs[0], cronJob) {
			t.Fatalf("jobs %+v", jobs)
		}
		if got := jobs[0].Annotations[batchv1.CronJobScheduledTimestampAnnotation]; got == "" || !cronJob.Status.LastScheduleTime.Time.Equal(at) {
			t.Errorf("annotation %q, last %s, want %s", got, cronJob.Status.LastScheduleTime, at)
		}
		hasEvent(t, c, "starts", "Normal", "SuccessfulCreate", "Created job "+jobs[0].Name)
		complete(t, c, &jobs[0])
		eventually(t, func() string {
			get(t, c, cronJob)
			if len(cronJob.Status.Active) > 0 || cronJob.Status.LastSuccessfulTime == nil {
				return fmt.Sprintf("status %+v", cronJob.Status)
			}
			return ""
		})
		hasEvent(t, c, "starts", "Normal", "SawCompletedJob", "Saw completed job: "+jobs[0].Name+", condition: Complete")
	})

	t.Run("does not start another where that is forbidden", func(t *testing.T) {
		cronJob := newCronJob("forbid")
		cronJob.Spec.ConcurrencyPolicy = batchv1.ForbidConcurrent
		create(t, c, cronJob)
		first := hasJobs(t, c, cronJob, 1)[0]
		nextJob(t, c, clock, cronJob, 1)
		hasEvent(t, c, "forbid", "Normal", "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		complete(t, c, &first)
		nextJob(t, c, clock, cronJob, 2)
	})

	t.Run("replaces the one that runs", func(t *testing.T) {
		cronJob := newCronJob("replace")
		cronJob.Spec.ConcurrencyPolicy = batchv1.ReplaceConcurrent
		create(t, c, cronJob)
		first := hasJobs(t, c, cronJob, 1)[0]
		clock.Step(time.Minute)
		change(t, c, cronJob, func() { cronJob.Spec.Schedule = "*/1 * * * *" })
		eventually(t, func() string {
			if jobs := jobsOf(t, c, cronJob); len(jobs) != 1 || jobs[0].UID == first.UID {
				return fmt.Sprintf("jobs %+v", jobs)
			}
			return ""
		})
		hasEvent(t, c, "replace", "Normal", "SuccessfulDelete", "Deleted job "+first.Name)
	})

	t.Run("keeps no more finished jobs than the limit says", func(t *testing.T) {
		cronJob := newCronJob("history")
		cronJob.Spec.SuccessfulJobsHistoryLimit = new(int32(1))
		create(t, c, cronJob)
		first := hasJobs(t, c, cronJob, 1)
		complete(t, c, &first[0])
		second := nextJob(t, c, clock, cronJob, 2)
		complete(t, c, &second[1])
		eventually(t, func() string {
			if jobs := jobsOf(t, c, cronJob); len(jobs) != 1 || jobs[0].Name != second[1].Name {
				return fmt.Sprintf("jobs %+v", jobs)
			}
			return ""
		})
	})
}
