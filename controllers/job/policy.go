package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// failure is what a Job's podFailurePolicy says about a failed pod.
type failure struct {
	action  batchv1.PodFailurePolicyAction // empty: no rule matches
	message string                         // why the Job fails, for FailJob
}

// counts tells whether the failure counts towards the backoff limits.
func (f failure) counts() bool { return f.action != batchv1.PodFailurePolicyActionIgnore }

// judge finds the first rule that matches a failed pod.
func judge(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) failure {
	if policy == nil {
		return failure{}
	}
	for at, rule := range policy.Rules {
		var message string
		switch {
		case rule.OnExitCodes != nil:
			status := containerThatExited(pod, rule.OnExitCodes)
			if status == nil {
				continue
			}
			message = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d",
				status.Name, pod.Namespace, pod.Name, status.State.Terminated.ExitCode, rule.Action, at)
		default:
			condition := conditionThatMatches(pod, rule.OnPodConditions)
			if condition == "" {
				continue
			}
			message = fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d",
				pod.Namespace, pod.Name, condition, rule.Action, at)
		}
		if rule.Action != batchv1.PodFailurePolicyActionFailJob {
			message = ""
		}
		return failure{action: rule.Action, message: message}
	}
	return failure{}
}

// containerThatExited returns a container, an init container at last, that has
// failed with one of the exit codes asked for.
func containerThatExited(pod *corev1.Pod, rule *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			ended := list[i].State.Terminated
			if ended == nil || ended.ExitCode == 0 || (rule.ContainerName != nil && *rule.ContainerName != list[i].Name) {
				continue
			}
			if slices.Contains(rule.Values, ended.ExitCode) == (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return &list[i]
			}
		}
	}
	return nil
}

func conditionThatMatches(pod *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) corev1.PodConditionType {
	for _, condition := range pod.Status.Conditions {
		for _, pattern := range patterns {
			if condition.Type == pattern.Type && condition.Status == pattern.Status {
				return condition.Type
			}
		}
	}
	return ""
}

// matchSuccess returns the message for the first rule of a success policy that
// the succeeded indexes meet; not met when there is none.
func matchSuccess(policy *batchv1.SuccessPolicy, completions int, succeeded indexes) (message string, met bool) {
	if policy == nil || len(succeeded) == 0 {
		return "", false
	}
	for at, rule := range policy.Rules {
		among, needed := succeeded.count(), 0
		if rule.SucceededIndexes != nil {
			wanted := parseIndexes(*rule.SucceededIndexes, completions)
			among, needed = succeeded.common(wanted), wanted.count()
		}
		if rule.SucceededCount != nil {
			needed = int(*rule.SucceededCount)
		}
		if among >= needed {
			return fmt.Sprintf("Matched rules at index %d", at), true
		}
	}
	return "", false
}
