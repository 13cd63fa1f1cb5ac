package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newJob(name string, completions, parallelism int32) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	job.Spec.Completions, job.Spec.Parallelism = &completions, &parallelism
	job.Spec.Template.Labels = map[string]string{"app": name}
	job.Spec.Template.Spec = template(name, "image").Spec
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return job
}

// podsOfJob lists all pods of a Job that are not yet removed, by name.
func podsOfJob(t *testing.T, c client.Client, job *batchv1.Job) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := c.List(t.Context(), &list, client.InNamespace("default"), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

// end makes a pod end, as a node would.
func end(t *testing.T, c client.Client, pod *corev1.Pod, phase corev1.PodPhase, code int32) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, pod)
		pod.Status.Phase = phase
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Image: "image", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()},
		}}}
		if err := c.Status().Update(t.Context(), pod); err != nil {
			return err.Error()
		}
		return ""
	})
}

// jobStatus waits for active/succeeded/failed and the conditions that are true.
func jobStatus(t *testing.T, c client.Client, job *batchv1.Job, want string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, job)
		s := job.Status
		got := fmt.Sprintf("%d/%d/%d", s.Active, s.Succeeded, s.Failed)
		for _, condition := range s.Conditions {
			if condition.Status == corev1.ConditionTrue {
				got += " " + string(condition.Type)
			}
		}
		if got != want {
			return fmt.Sprintf("status of %s is %q, want %q", job.Name, got, want)
		}
		return ""
	})
}

func TestJob(t *testing.T) {
	c := start(t, "job-controller", "ttl-after-finished-controller", "garbage-collector-controller")

	t.Run("runs its pods to completion and counts each once", func(t *testing.T) {
		job := newJob("complete", 3, 2)
		create(t, c, job)
		jobStatus(t, c, job, "2/0/0")
		hasEvent(t, c, "complete", "Normal", "SuccessfulCreate", "Created pod: complete-")
		for i := range 3 {
			var pod *corev1.Pod
			eventually(t, func() string {
				for _, each := range podsOfJob(t, c, job) {
					if each.Status.Phase == corev1.PodPending {
						pod = &each
						return ""
					}
				}
				return fmt.Sprintf("no pod %d", i)
			})
			end(t, c, pod, corev1.PodSucceeded, 0)
		}
		jobStatus(t, c, job, "0/3/0 SuccessCriteriaMet Complete")
		hasEvent(t, c, "complete", "Normal", "Completed", "Job completed")
		if job.Status.CompletionTime == nil || job.Status.StartTime == nil || *job.Status.Ready != 0 || *job.Status.Terminating != 0 {
			t.Errorf("status %+v", job.Status)
		}
		for _, pod := range podsOfJob(t, c, job) {
			if len(pod.Finalizers) > 0 {
				t.Errorf("pod %s keeps %v", pod.Name, pod.Finalizers)
			}
		}
	})

	t.Run("gives each pod of an Indexed job an index", func(t *testing.T) {
		job := newJob("indexed", 3, 3)
		job.Spec.CompletionMode = new(batchv1.IndexedCompletion)
		create(t, c, job)
		jobStatus(t, c, job, "3/0/0")
		for i, pod := range podsOfJob(t, c, job) {
			if !strings.HasPrefix(pod.Name, fmt.Sprintf("indexed-%d-", i)) || pod.Spec.Hostname != fmt.Sprintf("indexed-%d", i) ||
				pod.Annotations[batchv1.JobCompletionIndexAnnotation] != fmt.Sprint(i) || pod.Spec.Containers[0].Env[0].Name != "JOB_COMPLETION_INDEX" {
				t.Errorf("pod %d is %+v", i, pod)
			}
			end(t, c, &pod, corev1.PodSucceeded, 0)
		}
		jobStatus(t, c, job, "0/3/0 SuccessCriteriaMet Complete")
		if job.Status.CompletedIndexes != "0-2" {
			t.Errorf("completed %q", job.Status.CompletedIndexes)
		}
	})

	t.Run("fails at the backoff limit, and its other pods with it", func(t *testing.T) {
		job := newJob("fails", 2, 2)
		job.Spec.BackoffLimit = new(int32(0))
		create(t, c, job)
		jobStatus(t, c, job, "2/0/0")
		end(t, c, &podsOfJob(t, c, job)[0], corev1.PodFailed, 1)
		jobStatus(t, c, job, "0/0/2 FailureTarget Failed")
		hasEvent(t, c, "fails", "Warning", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
		eventually(t, func() string {
			if left := podsOfJob(t, c, job); len(left) != 1 || left[0].Status.Phase != corev1.PodFailed {
				return fmt.Sprintf("%d pods are left", len(left))
			}
			return ""
		})
	})

	t.Run("fails by an exit code that the policy names", func(t *testing.T) {
		job := newJob("policy", 1, 1)
		job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
			Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
				Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42},
			},
		}}}
		create(t, c, job)
		jobStatus(t, c, job, "1/0/0")
		pod := podsOfJob(t, c, job)[0]
		end(t, c, &pod, corev1.PodFailed, 42)
		jobStatus(t, c, job, "0/0/1 FailureTarget Failed")
		hasEvent(t, c, "policy", "Warning", "PodFailurePolicy", "Container c for pod default/"+pod.Name+" failed with exit code 42 matching FailJob rule at index 0")
	})

	t.Run("lets one index fail and the others go on", func(t *testing.T) {
		job := newJob("perindex", 2, 2)
		job.Spec.CompletionMode = new(batchv1.IndexedCompletion)
		job.Spec.BackoffLimitPerIndex = new(int32(0))
		create(t, c, job)
		jobStatus(t, c, job, "2/0/0")
		made := podsOfJob(t, c, job)
		end(t, c, &made[0], corev1.PodFailed, 1)
		jobStatus(t, c, job, "1/0/1")
		if job.Status.FailedIndexes == nil || *job.Status.FailedIndexes != "0" {
			t.Errorf("failed indexes %v", job.Status.FailedIndexes)
		}
		end(t, c, &made[1], corev1.PodSucceeded, 0)
		jobStatus(t, c, job, "0/1/1 FailureTarget Failed")
		hasEvent(t, c, "perindex", "Warning", "FailedIndexes", "Job has failed indexes")
	})

	t.Run("is suspended and resumed", func(t *testing.T) {
		job := newJob("suspend", 2, 2)
		create(t, c, job)
		jobStatus(t, c, job, "2/0/0")
		change(t, c, job, func() { job.Spec.Suspend = new(true) })
		jobStatus(t, c, job, "0/0/0 Suspended")
		hasEvent(t, c, "suspend", "Normal", "Suspended", "Job suspended")
		eventually(t, func() string {
			if left := podsOfJob(t, c, job); len(left) > 0 {
				return fmt.Sprintf("%d pods are left", len(left))
			}
			return ""
		})
		change(t, c, job, func() { job.Spec.Suspend = new(false) })
		jobStatus(t, c, job, "2/0/0")
		hasEvent(t, c, "suspend", "Normal", "Resumed", "Job resumed")
	})

	t.Run("ends by its success policy", func(t *testing.T) {
		job := newJob("leader", 3, 3)
		job.Spec.CompletionMode = new(batchv1.IndexedCompletion)
		job.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: new("1")}}}
		create(t, c, job)
		jobStatus(t, c, job, "3/0/0")
		end(t, c, &podsOfJob(t, c, job)[1], corev1.PodSucceeded, 0)
		jobStatus(t, c, job, "0/1/0 SuccessCriteriaMet Complete")
		if reason := job.Status.Conditions[len(job.Status.Conditions)-1].Reason; reason != batchv1.JobReasonSuccessPolicy {
			t.Errorf("reason %s", reason)
		}
	})

	t.Run("is deleted with its pods, which lose their finalizer", func(t *testing.T) {
		for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
			job := newJob("deleted-"+strings.ToLower(string(policy)), 2, 2)
			create(t, c, job)
			jobStatus(t, c, job, "2/0/0")
			if err := c.Delete(t.Context(), job, client.PropagationPolicy(policy)); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string {
				if left := podsOfJob(t, c, job); len(left) > 0 {
					return fmt.Sprintf("%s: %d pods are left", policy, len(left))
				}
				return ""
			})
		}
	})

	t.Run("leaves its pods free of the finalizer when they are orphaned", func(t *testing.T) {
		job := newJob("orphans", 1, 1)
		create(t, c, job)
		jobStatus(t, c, job, "1/0/0")
		if err := c.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			left := podsOfJob(t, c, job)
			if len(left) != 1 || len(left[0].Finalizers) > 0 || len(left[0].OwnerReferences) > 0 {
				return fmt.Sprintf("left are %+v", left)
			}
			return ""
		})
	})

	t.Run("is deleted some time after its end", func(t *testing.T) {
		job := newJob("short", 1, 1)
		job.Spec.TTLSecondsAfterFinished = new(int32(0))
		create(t, c, job)
		jobStatus(t, c, job, "1/0/0")
		end(t, c, &podsOfJob(t, c, job)[0], corev1.PodSucceeded, 0)
		eventually(t, func() string {
			if err := c.Get(context.Background(), client.ObjectKeyFromObject(job), job); client.IgnoreNotFound(err) != nil || err == nil {
				return fmt.Sprintf("the job is still there: %v", err)
			}
			return ""
		})
	})

	t.Run("is left alone when another controller manages it", func(t *testing.T) {
		foreign := newJob("foreign", 1, 1)
		foreign.Spec.ManagedBy = new("example.com/other")
		create(t, c, foreign)
		mine := newJob("mine", 1, 1)
		create(t, c, mine)
		jobStatus(t, c, mine, "1/0/0") // which came later
		get(t, c, foreign)
		if foreign.Status.StartTime != nil || len(podsOfJob(t, c, foreign)) > 0 {
			t.Errorf("status %+v", foreign.Status)
		}
	})
}
