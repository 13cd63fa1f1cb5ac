package podctl

import (
	"errors"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBatches(t *testing.T) {
	tests := []struct {
		name  string
		count int
		want  []int
	}{
		{"none", 0, nil},
		{"one", 1, []int{1}},
		{"doubling, and the rest", 10, []int{1, 2, 4, 3}},
		{"five hundred take nine batches", 500, []int{1, 2, 4, 8, 16, 32, 64, 128, 245}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Batches(test.count); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestInParallelRunsAllAndReportsAnError(t *testing.T) {
	fault := errors.New("fault")
	done := make(chan int, 200)
	err := InParallel(200, func(i int) error {
		done <- i
		if i == 77 {
			return fault
		}
		return nil
	})
	if !errors.Is(err, fault) || len(done) != 200 {
		t.Errorf("got %v after %d calls, want the fault after 200", err, len(done))
	}
}

func TestNew(t *testing.T) {
	set := &appsv1.ReplicaSet{}
	set.Name, set.Namespace, set.UID = "web-abc", "shop", "s1"
	set.Spec.Template.Labels = map[string]string{"app": "web"}
	set.Spec.Template.Annotations = map[string]string{"a": "1"}
	set.Spec.Template.Finalizers = []string{"f"}
	set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c"}}
	pod := New(set, *metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")), &set.Spec.Template)
	if pod.GenerateName != "web-abc-" || pod.Name != "" || pod.Namespace != "shop" || pod.Labels["app"] != "web" ||
		pod.Annotations["a"] != "1" || !slices.Equal(pod.Finalizers, []string{"f"}) || len(pod.Spec.Containers) != 1 || !metav1.IsControlledBy(pod, set) {
		t.Errorf("got %+v", pod)
	}
	if ref := pod.OwnerReferences[0]; ref.APIVersion != "apps/v1" || ref.Kind != "ReplicaSet" || !*ref.BlockOwnerDeletion {
		t.Errorf("got owner %+v", ref)
	}
	pod.Labels["app"] = "other"
	if set.Spec.Template.Labels["app"] != "web" {
		t.Error("the pod shares memory with the template")
	}
}
