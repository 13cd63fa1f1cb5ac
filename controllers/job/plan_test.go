package job

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

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newJob makes a Job of so many completions and so many pods at a time.
func newJob(completions, parallelism int32, changes ...func(*batchv1.Job)) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "job", UID: "job"}}
	job.Spec.Completions, job.Spec.Parallelism = &completions, &parallelism
	job.Spec.BackoffLimit = new(int32(6))
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c"}}
	job.Status.StartTime = &metav1.Time{Time: now.Add(-time.Minute)}
	for _, change := range changes {
		change(job)
	}
	return job
}

func indexed(job *batchv1.Job) { job.Spec.CompletionMode = new(batchv1.IndexedCompletion) }

func perIndex(limit int32) func(*batchv1.Job) {
	return func(job *batchv1.Job) { indexed(job); job.Spec.BackoffLimitPerIndex = &limit }
}

// newPods makes tracked pods from words such as "running", "failed/3" for the
// index 3 and "failed/3!2" when that has failed twice before; "-" in front is
// for a pod that is counted already, "~" for one that is being deleted.
func newPods(words string) []*corev1.Pod {
	var pods []*corev1.Pod
	for i, word := range strings.Fields(words) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: word, UID: types.UID(fmt.Sprint(i)), Annotations: map[string]string{}}}
		pod.CreationTimestamp.Time = now.Add(-time.Hour)
		word, counted := strings.CutPrefix(word, "-")
		if !counted {
			pod.Finalizers = []string{batchv1.JobTrackingFinalizer}
		}
		word, terminating := strings.CutPrefix(word, "~")
		if terminating {
			pod.DeletionTimestamp = &metav1.Time{Time: now}
		}
		word, index, isIndexed := strings.Cut(word, "/")
		if isIndexed {
			index, failures, _ := strings.Cut(index, "!")
			pod.Annotations[batchv1.JobCompletionIndexAnnotation] = index
			pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = failures
		}
		pod.Status.Phase = corev1.PodPhase(strings.ToUpper(word[:1]) + word[1:])
		pods = append(pods, pod)
	}
	return pods
}

func TestVerdict(t *testing.T) {
	failOn42 := func(job *batchv1.Job) {
		job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
			{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
			{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}}},
		}}
	}
	exit := func(code int32) func([]*corev1.Pod) {
		return func(pods []*corev1.Pod) {
			pods[0].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}}
		}
	}
	evicted := func(pods []*corev1.Pod) {
		for _, pod := range pods {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
		}
	}
	limit := func(n int32) func(*batchv1.Job) { return func(job *batchv1.Job) { job.Spec.BackoffLimit = &n } }
	succeedAt := func(rule batchv1.SuccessPolicyRule) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			indexed(job)
			job.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{rule}}
		}
	}
	tests := []struct {
		name   string
		job    *batchv1.Job
		pods   string
		change func([]*corev1.Pod)
		want   string
	}{
		{"nothing has happened", newJob(2, 2), "running pending", nil, ""},
		{"as many failures as allowed", newJob(2, 2, limit(2)), "failed failed running", nil, ""},
		{"one failure too many", newJob(2, 2, limit(1)), "failed failed running", nil, "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"failures that are counted already are not counted twice", newJob(2, 2, limit(0)), "-failed", nil, ""},
		{"a deleted pod is a failure", newJob(2, 2, limit(0)), "~running", nil, "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"with a failure policy it is none before it ends", newJob(2, 2, limit(0), failOn42), "~running", nil, ""},
		{"restarts in place count", newJob(1, 1, limit(3), func(job *batchv1.Job) { job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }), "running", func(pods []*corev1.Pod) {
			pods[0].Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
		}, "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"the time is up", newJob(1, 1, func(job *batchv1.Job) { job.Spec.ActiveDeadlineSeconds = new(int64(60)) }), "running", nil, "FailureTarget DeadlineExceeded: Job was active longer than specified deadline"},
		{"time does not run while suspended", newJob(1, 1, func(job *batchv1.Job) {
			job.Spec.ActiveDeadlineSeconds = new(int64(60))
			job.Spec.Suspend = new(true)
		}), "", nil, ""},
		{"an exit code that fails the job", newJob(1, 1, failOn42), "failed", exit(42), "FailureTarget PodFailurePolicy: Container c for pod default/failed failed with exit code 42 matching FailJob rule at index 1"},
		{"another exit code", newJob(1, 1, failOn42), "failed", exit(41), ""},
		{"ignored failures", newJob(1, 1, limit(0), failOn42), "failed failed", evicted, ""},
		{"an index that fails alone", newJob(2, 2, perIndex(0)), "failed/0 running/1", nil, ""},
		{"all others have succeeded", newJob(2, 2, perIndex(0)), "failed/0 succeeded/1", nil, "FailureTarget FailedIndexes: Job has failed indexes"},
		{"too many failed indexes", newJob(4, 4, perIndex(1), func(job *batchv1.Job) { job.Spec.MaxFailedIndexes = new(int32(1)) }), "failed/0!1 failed/1!1", nil, "FailureTarget MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes"},
		{"a leader's index has succeeded", newJob(3, 3, succeedAt(batchv1.SuccessPolicyRule{SucceededIndexes: new("0")})), "succeeded/0 running/1", nil, "SuccessCriteriaMet SuccessPolicy: Matched rules at index 0"},
		{"another index has", newJob(3, 3, succeedAt(batchv1.SuccessPolicyRule{SucceededIndexes: new("0")})), "running/0 succeeded/1", nil, ""},
		{"enough of some indexes have", newJob(5, 5, succeedAt(batchv1.SuccessPolicyRule{SucceededIndexes: new("0-3"), SucceededCount: new(int32(2))})), "succeeded/1 succeeded/3 running/4", nil, "SuccessCriteriaMet SuccessPolicy: Matched rules at index 0"},
		{"what is certain stays so", newJob(1, 1, func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{newCondition(batchv1.JobFailureTarget, corev1.ConditionTrue, "Why", "said before", now)}
		}), "succeeded", nil, "FailureTarget Why: said before"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pods := newPods(test.pods)
			if test.change != nil {
				test.change(pods)
			}
			got := ""
			if c := verdict(test.job, pods, count(test.job, pods), now); c != nil {
				got = fmt.Sprintf("%s %s: %s", c.Type, c.Reason, c.Message)
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPlanScale(t *testing.T) {
	suspended := func(job *batchv1.Job) { job.Spec.Suspend = new(true) }
	replaceFailed := func(job *batchv1.Job) { job.Spec.PodReplacementPolicy = new(batchv1.Failed) }
	queue := func(job *batchv1.Job) { job.Spec.Completions = nil }
	tests := []struct {
		name     string
		job      *batchv1.Job
		pods     string
		failures record
		create   string // generateName and the failures taken over
		remove   string
		wait     time.Duration
	}{
		{"the first pods", newJob(5, 2), "", record{}, "job- job-", "", 0},
		{"no more than are needed", newJob(5, 4), "succeeded succeeded succeeded running", record{}, "job-", "", 0},
		{"too many after parallelism was lowered", newJob(5, 1), "running pending running", record{}, "", "pending running", 0},
		{"a suspended job", newJob(5, 2, suspended), "running running", record{}, "", "running running", 0},
		{"a work queue after a success", newJob(0, 3, queue), "succeeded running", record{}, "", "", 0},
		{"a work queue before", newJob(0, 3, queue), "running", record{}, "job- job-", "", 0},
		{"after a failure it waits", newJob(1, 1), "failed", record{1, now.Add(-4 * time.Second)}, "", "", 6 * time.Second},
		{"and longer each time", newJob(1, 1), "failed", record{3, now}, "", "", 40 * time.Second},
		{"until it has waited", newJob(1, 1), "failed", record{3, now.Add(-time.Minute)}, "job-", "", 0},
		{"a terminating pod is replaced", newJob(1, 1), "~running", record{}, "job-", "", 0},
		{"unless only failed ones are", newJob(1, 1, replaceFailed), "~running", record{}, "", "", 0},
		{"the first free indexes", newJob(5, 3, indexed), "succeeded/0 running/2", record{}, "job-1- job-3-", "", 0},
		{"two pods of an index", newJob(5, 3, indexed), "running/1 pending/1 running/2", record{}, "", "pending/1", 0},
		{"an index out of range", newJob(2, 2, indexed), "running/1 running/2", record{}, "", "running/2", 0},
		{"the index of a terminating pod waits for its end", newJob(3, 3, indexed, replaceFailed), "~running/0 running/1", record{}, "job-2-", "", 0},
		{"failed indexes are left alone", newJob(3, 3, perIndex(0)), "failed/0", record{}, "job-1-0 job-2-0", "", 0},
		{"an index's failures are taken over", newJob(2, 2, perIndex(3)), "failed/0!1 running/1", record{}, "job-0-2", "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan := planScale(test.job, count(test.job, newPods(test.pods)), test.failures, metav1.OwnerReference{}, now)
			var create, remove []string
			for _, pod := range plan.create {
				create = append(create, pod.GenerateName+pod.Annotations[batchv1.JobIndexFailureCountAnnotation])
				if !isTracked(pod) {
					t.Errorf("%s has no finalizer", pod.GenerateName)
				}
			}
			for _, pod := range plan.remove {
				remove = append(remove, pod.Name)
			}
			if got := strings.Join(create, " "); got != test.create {
				t.Errorf("creates %q, want %q", got, test.create)
			}
			if got := strings.Join(remove, " "); got != test.remove {
				t.Errorf("removes %q, want %q", got, test.remove)
			}
			if plan.wait != test.wait {
				t.Errorf("waits %s, want %s", plan.wait, test.wait)
			}
		})
	}
}

func TestPlanCount(t *testing.T) {
	failing := new(newCondition(batchv1.JobFailureTarget, corev1.ConditionTrue, "", "", now))
	met := new(newCondition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, "", "", now))
	named := func(job *batchv1.Job) {
		job.Status.Succeeded = 1
		job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"0", "9"}}
	}
	tests := []struct {
		name    string
		job     *batchv1.Job
		pods    string
		target  *batchv1.JobCondition
		release string
		want    string // of the status: succeeded failed uncounted indexes
	}{
		{"running pods are left alone", newJob(2, 2), "running", nil, "", "0 0 {[] []} "},
		{"ended pods are named first", newJob(2, 2), "succeeded failed running", nil, "succeeded failed", "0 0 {[0] [1]} "},
		{"named pods are counted once they have no finalizer", newJob(3, 2, named), "succeeded", nil, "succeeded", "2 0 {[0] []} "},
		{"counted pods are left alone", newJob(2, 2), "-succeeded -failed", nil, "", "0 0 {[] []} "},
		{"all fail with the job", newJob(2, 2), "~running running succeeded", failing, "~running running succeeded", "0 0 {[2] [0 1]} "},
		{"none fails with a success", newJob(2, 2), "running succeeded", met, "running succeeded", "0 0 {[1] []} "},
		{"indexes need not be named", newJob(3, 3, indexed), "succeeded/2 succeeded/0 running/1", nil, "succeeded/0 succeeded/2", "2 0 {[] []} 0,2"},
		{"the last failure of an index waits for its successor", newJob(2, 2, perIndex(1)), "failed/0 running/1", nil, "", "0 0 {[] []} "},
		{"which has come", newJob(2, 2, perIndex(1)), "failed/0 running/0!1", nil, "failed/0", "0 0 {[] [0]} "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pods := newPods(test.pods)
			plan := planCount(test.job, pods, count(test.job, pods), test.target)
			var release []string
			for _, pod := range plan.release {
				release = append(release, pod.Name)
			}
			if got := strings.Join(release, " "); got != test.release {
				t.Errorf("releases %q, want %q", got, test.release)
			}
			s := plan.status
			if got := fmt.Sprintf("%d %d %v %s", s.Succeeded, s.Failed, *s.UncountedTerminatedPods, s.CompletedIndexes); got != test.want {
				t.Errorf("got status %q, want %q", got, test.want)
			}
		})
	}
	t.Run("no more than 500 at a time", func(t *testing.T) {
		pods := newPods(strings.Repeat("succeeded ", 600))
		plan := planCount(newJob(600, 600), pods, count(newJob(600, 600), pods), met)
		if len(plan.release) != 500 || !plan.full {
			t.Errorf("releases %d, full %v", len(plan.release), plan.full)
		}
	})
}

func TestFinish(t *testing.T) {
	failing := new(newCondition(batchv1.JobFailureTarget, corev1.ConditionTrue, "Why", "", now))
	met := new(newCondition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, "", "", now))
	tests := []struct {
		name   string
		target *batchv1.JobCondition
		change func(*batchv1.JobStatus)
		want   batchv1.JobConditionType
	}{
		{"it goes on", nil, nil, ""},
		{"it failed", failing, nil, batchv1.JobFailed},
		{"it is complete", met, nil, batchv1.JobComplete},
		{"pods are left to count", met, func(s *batchv1.JobStatus) { s.UncountedTerminatedPods.Failed = []types.UID{"1"} }, ""},
		{"pods are still terminating", failing, func(s *batchv1.JobStatus) { s.Terminating = new(int32(1)) }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status := &batchv1.JobStatus{UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{}}
			if test.change != nil {
				test.change(status)
			}
			var got batchv1.JobConditionType
			if end := finish(status, test.target, now); end != nil {
				got = end.Type
			}
			if got != test.want || (status.CompletionTime != nil) != (got == batchv1.JobComplete) {
				t.Errorf("got %q, completion time %v", got, status.CompletionTime)
			}
		})
	}
}

func TestNewPodOfAnIndex(t *testing.T) {
	job := newJob(9, 9, indexed)
	job.Name = strings.Repeat("j", 63)
	pod := newPod(job, metav1.OwnerReference{}, 7, nil)
	if want := strings.Repeat("j", 55) + "-7-"; pod.GenerateName != want {
		t.Errorf("generateName %q, want %q", pod.GenerateName, want)
	}
	env := pod.Spec.Containers[0].Env
	if len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" || env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" {
		t.Errorf("environment %+v", env)
	}
	if pod.Spec.Hostname != job.Name+"-7" || pod.Labels[batchv1.JobCompletionIndexAnnotation] != "7" {
		t.Errorf("hostname %q, labels %v", pod.Spec.Hostname, pod.Labels)
	}
}

func TestRecord(t *testing.T) {
	at := func(words string, ago ...int) []*corev1.Pod {
		pods := newPods(words)
		for i, pod := range pods {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				FinishedAt: metav1.NewTime(now.Add(-time.Duration(ago[i]) * time.Second)),
			}}}}
		}
		return pods
	}
	before := record{2, now.Add(-time.Hour)}
	tests := []struct {
		name              string
		succeeded, failed []*corev1.Pod
		want              record
	}{
		{"nothing ended", nil, nil, before},
		{"one more failed", nil, at("failed", 5), record{3, now.Add(-5 * time.Second)}},
		{"a success begins anew", at("succeeded", 5), at("failed", 9), record{}},
		{"failures after a success", at("succeeded", 5), at("failed failed", 9, 2), record{1, now.Add(-2 * time.Second)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := before.after(test.succeeded, test.failed); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
