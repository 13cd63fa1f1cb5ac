package job

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// burst is the most pods that one turn creates or deletes, upstream's number.
// What is left is done in the next turn.
const burst = 500

// scalePlan is what to do about the number of a Job's active pods. Pods are
// either deleted or created in one turn, never both.
type scalePlan struct {
	remove []*corev1.Pod
	create []*corev1.Pod

	// wait is when to look again, for a pod that is created later.
	wait time.Duration
}

// planScale brings the active pods to parallelism, or to as many as are still
// needed, or to none while the Job is suspended.
func planScale(job *batchv1.Job, t tally, failures record, ref metav1.OwnerReference, now time.Time) scalePlan {
	active := len(t.active)
	if isSuspended(job) {
		return scalePlan{remove: t.active}
	}
	want := int(ptr.Deref(job.Spec.Parallelism, 1))
	switch {
	case job.Spec.Completions != nil:
		want = max(0, min(want, completions(job)-int(t.succeeded)))
	case t.succeeded > 0:
		want = active // those that run may end, no more are started
	}
	if remove := planRemove(job, t.active, max(0, active-want)); len(remove) > 0 {
		return scalePlan{remove: remove[:min(len(remove), burst)]}
	}

	missing := want - active
	if waitsForEnd(job) {
		missing -= len(t.terminating)
	}
	if missing <= 0 {
		return scalePlan{}
	}
	missing = min(missing, burst)
	if !limitsIndexes(job) {
		if wait := delay(failures.failures, failures.last, now); wait > 0 {
			return scalePlan{wait: wait}
		}
	}
	if !isIndexed(job) {
		var plan scalePlan
		for range missing {
			plan.create = append(plan.create, newPod(job, ref, noIndex, nil))
		}
		return plan
	}
	return planIndexes(job, t, missing, ref, now)
}

// planIndexes creates pods for the first indexes that have neither ended nor
// have a pod, as far as their own backoff allows.
func planIndexes(job *batchv1.Job, t tally, missing int, ref metav1.OwnerReference, now time.Time) scalePlan {
	taken := t.succeededIndexes.union(t.failedIndexes).with(indexesOf(t.active)...)
	if waitsForEnd(job) {
		taken = taken.with(indexesOf(t.terminating)...)
	}
	var plan scalePlan
	for _, index := range taken.missing(missing, completions(job)) {
		last := t.last[index]
		if last != nil {
			counted, ignored := failuresBefore(last)
			if wait := delay(int(counted+ignored)+1, endedAt(last), now); wait > 0 {
				if plan.wait == 0 || wait < plan.wait {
					plan.wait = wait
				}
				continue
			}
		}
		plan.create = append(plan.create, newPod(job, ref, index, last))
	}
	return plan
}

// planRemove returns the pods that nobody needs: at least count of them, those
// that have got least far first, and in any case such as have no valid index or
// one that another pod has too.
func planRemove(job *batchv1.Job, active []*corev1.Pod, count int) []*corev1.Pod {
	// From the best down, so that the best one of an index stays.
	ranked := slices.SortedFunc(slices.Values(active), func(a, b *corev1.Pod) int { return podctl.ByProgress(b, a) })
	var remove, rest []*corev1.Pod
	seen := map[int]bool{}
	for _, pod := range ranked {
		index := indexOf(pod)
		if isIndexed(job) && (!isValid(job, pod) || seen[index]) {
			remove = append(remove, pod)
			continue
		}
		seen[index] = true
		rest = append(rest, pod)
	}
	for len(remove) < count && len(rest) > 0 {
		remove = append(remove, rest[len(rest)-1])
		rest = rest[:len(rest)-1]
	}
	return remove
}

// indexVariable is the environment variable that tells a container its index.
const indexVariable = "JOB_COMPLETION_INDEX"

// newPod returns a pod of a Job, for an index (or noIndex), in the place of
// another that failed (or nil).
func newPod(job *batchv1.Job, ref metav1.OwnerReference, index int, last *corev1.Pod) *corev1.Pod {
	pod := podctl.New(job, ref, &job.Spec.Template)
	if !isTracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if index == noIndex {
		return pod
	}
	number := strconv.Itoa(index)
	pod.GenerateName = generateName(job.Name, number)
	pod.Spec.Hostname = job.Name + "-" + number
	pod.Labels = withValue(pod.Labels, batchv1.JobCompletionIndexAnnotation, number)
	pod.Annotations = withValue(pod.Annotations, batchv1.JobCompletionIndexAnnotation, number)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			addIndexVariable(&list[i])
		}
	}
	if limitsIndexes(job) {
		counted, ignored := failuresWith(job, last)
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(counted))
		if ignored > 0 {
			pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(int(ignored))
		}
	}
	return pod
}

func withValue(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// generateName is the beginning of the name of an index's pods, cut so that the
// index stays in it: the server cuts at 58 characters.
func generateName(job, index string) string {
	const longest = 58
	suffix := "-" + index + "-"
	return job[:min(len(job), longest-len(suffix))] + suffix
}

func addIndexVariable(container *corev1.Container) {
	if slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == indexVariable }) {
		return
	}
	container.Env = append(container.Env, corev1.EnvVar{
		Name: indexVariable,
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
			FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation),
		}},
	})
}

// failuresWith is how often an index has failed when its last pod is counted.
func failuresWith(job *batchv1.Job, last *corev1.Pod) (counted, ignored int32) {
	if last == nil {
		return 0, 0
	}
	counted, ignored = failuresBefore(last)
	if judge(job.Spec.PodFailurePolicy, last).counts() {
		return counted + 1, ignored
	}
	return counted, ignored + 1
}
