package print_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiffcluster/skiff/api/print"
)

func TestCells(t *testing.T) {
	containers := []corev1.Container{{Name: "a", Image: "i:1"}, {Name: "b", Image: "j:2"}}
	for _, c := range []struct{ name, got, want string }{
		{"an optional value", print.OrNone("a"), "a"},
		{"no optional value", print.OrNone(""), "<none>"},
		{"a value", print.OrUnknown("a"), "a"},
		{"no value", print.OrUnknown(""), "<unknown>"},
		{"some time ago", print.Since(metav1.NewTime(time.Now().Add(-20*time.Hour - time.Minute))), "20h"},
		{"never", print.Since(metav1.Time{}), "<unknown>"},
		{"names", print.ContainerNames(containers), "a,b"},
		{"images", print.ContainerImages(containers), "i:1,j:2"},
		{"no names", print.ContainerNames(nil), ""},
		{"another object", print.KindName(schema.GroupKind{Group: "apps", Kind: "StatefulSet"}, "web"), "statefulset.apps/web"},
		{"another object of the core", print.KindName(schema.GroupKind{Kind: "Pod"}, "web"), "pod/web"},
		{"an object of no kind", print.KindName(schema.GroupKind{}, "web"), "web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("Got %q, want %q.", c.got, c.want)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	made := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", CreationTimestamp: made}}
	name, age := print.Name[corev1.Pod](), print.Age[corev1.Pod]()
	if name.Value(pod) != any("a") || name.Format != "name" || name.Description == "" {
		t.Errorf("The name's column is %v.", name)
	}
	if age.Value(pod) != any(made) || age.Description == "" {
		t.Errorf("The age's column is %v.", age)
	}
}
