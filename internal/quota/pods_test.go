package quota_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"
)

func TestWhichRequestsAboutPodsAreCounted(t *testing.T) {
	plain, deadline := &corev1.Pod{}, &corev1.Pod{Spec: corev1.PodSpec{ActiveDeadlineSeconds: ptr.To[int64](5)}}
	tests := map[string]struct {
		op          admission.Operation
		subresource string
		pod, before *corev1.Pod
		want        bool
	}{
		"a pod that is created":                  {op: admission.Create, pod: plain, want: true},
		"a pod that is bound":                    {op: admission.Create, subresource: "binding", pod: plain},
		"a pod that is resized":                  {op: admission.Update, subresource: "resize", pod: plain, before: plain, want: true},
		"an update of nothing that counts":       {op: admission.Update, pod: plain, before: plain},
		"a pod that gets a deadline":             {op: admission.Update, pod: deadline, before: plain, want: true},
		"a pod that has a deadline already":      {op: admission.Update, pod: deadline, before: deadline},
		"a status that is written":               {op: admission.Update, subresource: "status", pod: deadline, before: plain},
		"a pod that is deleted, by a controller": {op: admission.Delete, before: plain},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := admission.NewAttributesRecord(test.pod, test.before, corev1.SchemeGroupVersion.WithKind("Pod"), "ns", "pod",
				corev1.SchemeGroupVersion.WithResource("pods"), test.subresource, test.op, nil, false, nil)
			if got := evaluatorOf(t, "pods").Handles(a); got != test.want {
				t.Errorf("counted: %v, want %v", got, test.want)
			}
		})
	}
}

func TestWhatContainersMustSay(t *testing.T) {
	cpu := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}
	tests := map[string]struct {
		quota []corev1.ResourceName
		spec  corev1.PodSpec
		want  string
	}{
		"each container says its CPU": {
			quota: []corev1.ResourceName{corev1.ResourceRequestsCPU, corev1.ResourceCPU},
			spec:  corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: cpu}}},
		},
		"containers that say nothing are named, sorted": {
			quota: []corev1.ResourceName{corev1.ResourceRequestsCPU, corev1.ResourceLimitsMemory},
			spec:  corev1.PodSpec{Containers: []corev1.Container{{Name: "b"}, {Name: "c", Resources: cpu}}, InitContainers: []corev1.Container{{Name: "a"}}},
			want:  "must specify limits.memory for: a,b,c; requests.cpu for: a,b",
		},
		"nobody must say its ephemeral storage, huge pages, devices or number": {
			quota: []corev1.ResourceName{corev1.ResourcePods, "count/pods", corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage, corev1.ResourceEphemeralStorage, "requests.example.com/gpu"},
			spec:  corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}},
		},
		"a pod that says anything for all of its containers": {
			quota: []corev1.ResourceName{corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory},
			spec:  corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}, Resources: &cpu},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := evaluatorOf(t, "pods").Constraints(test.quota, &corev1.Pod{Spec: test.spec})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
