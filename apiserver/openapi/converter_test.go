package openapi_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/skiffcluster/skiff/apiserver/openapi"
)

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "image", Env: []corev1.EnvVar{{Name: "a", Value: "1"}},
			Ports: []corev1.ContainerPort{{ContainerPort: 80}},
		}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func env(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = nil
		for _, n := range names {
			p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: n})
		}
	}
}

// TestWhatChangedIsTheSameUnchecked compares two versions of a pod as they are
// for managed fields, and as they are when each is checked before.
func TestWhatChangedIsTheSameUnchecked(t *testing.T) {
	c := openapi.New("v1.37.2", scheme.Scheme).TypeConverter(&corev1.Pod{})
	if _, err := c.ObjectToTyped(pod(), typed.AllowDuplicates); err != nil { // the first one is always checked
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		old, obj  *corev1.Pod
		unchecked bool // has what the check without duplicates refuses
	}{
		{"nothing changed", pod(), pod(), false},
		{"a pod is new", &corev1.Pod{TypeMeta: pod().TypeMeta}, pod(), false},
		{"an image and a label changed", pod(), pod(func(p *corev1.Pod) { p.Spec.Containers[0].Image, p.Labels["app"] = "other", "other" }), false},
		{"a port was added and a condition appeared", pod(), pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{ContainerPort: 81, Protocol: corev1.ProtocolUDP})
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}), false},
		{"a variable was named twice", pod(), pod(env("a", "a")), true},
		{"it stays so and another one comes", pod(env("a", "a")), pod(env("a", "a", "b")), true},
		{"it is named once again", pod(env("a", "a")), pod(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			compare := func(typedOf func(*corev1.Pod) *typed.TypedValue) string {
				t.Helper()
				changed, err := typedOf(tt.old).Compare(typedOf(tt.obj))
				if err != nil {
					t.Fatal(err)
				}
				return changed.String()
			}
			unchecked := compare(func(p *corev1.Pod) *typed.TypedValue {
				v, err := c.ObjectToTyped(p, typed.AllowDuplicates)
				if err != nil {
					t.Fatal(err)
				}
				return v
			})
			checked := compare(func(p *corev1.Pod) *typed.TypedValue {
				content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
				if err != nil {
					t.Fatal(err)
				}
				v, err := c.ObjectToTyped(&unstructured.Unstructured{Object: content}, typed.AllowDuplicates)
				if err != nil {
					t.Fatal(err)
				}
				return v
			})
			if unchecked != checked {
				t.Errorf("unchecked:\n%s\nchecked:\n%s", unchecked, checked)
			}
			if _, err := c.ObjectToTyped(tt.obj); (err != nil) != tt.unchecked {
				t.Errorf("what must not have duplicates: %v", err)
			}
		})
	}
	if _, err := c.ObjectToTyped(&corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}}, typed.AllowDuplicates); err == nil {
		t.Error("a kind that the converter does not have got a type")
	}
}
