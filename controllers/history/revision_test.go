package history

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func owner(image string, collisions int32) Owner {
	template := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	template.Spec.Containers = []corev1.Container{{Name: "c", Image: image}}
	return Owner{
		Object: &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, Template: template, HashLabel: "hash", Collisions: collisions,
	}
}

func revisionOf(t *testing.T, owner Owner, number int64) *appsv1.ControllerRevision {
	t.Helper()
	revision, err := newRevision(owner, number)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func TestNewRevision(t *testing.T) {
	first := revisionOf(t, owner("one", 0), 1)
	tests := []struct {
		name     string
		of       Owner
		sameName bool
		holds    bool
	}{
		{"the same template", owner("one", 0), true, true},
		{"another template", owner("two", 0), false, false},
		{"after a collision the name is another", owner("one", 1), false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			revision := revisionOf(t, test.of, 2)
			if (revision.Name == first.Name) != test.sameName || revision.Name != "web-"+revision.Labels["hash"] {
				t.Errorf("names are %s and %s", first.Name, revision.Name)
			}
			if holds(revision, owner("one", 0).Template) != test.holds {
				t.Errorf("holds %s", revision.Data.Raw)
			}
		})
	}
}

func TestFindAndTrim(t *testing.T) {
	var list []*appsv1.ControllerRevision
	for i, image := range []string{"three", "one", "two", "four"} {
		revision := revisionOf(t, owner(image, 0), int64([]int{3, 1, 2, 4}[i]))
		revision.Name = image
		list = append(list, revision)
	}
	list = Sort(list)
	if next(list) != 5 || next(nil) != 1 {
		t.Errorf("next is %d", next(list))
	}
	if found := find(list, owner("two", 0).Template); found == nil || found.Name != "two" {
		t.Errorf("found %v", found)
	}
	if found := find(list, owner("five", 0).Template); found != nil {
		t.Errorf("found %v", found)
	}
	tests := []struct {
		name  string
		inUse string
		limit int
		want  string
	}{
		{"as many as there are", "four", 3, "[]"},
		{"the oldest go", "four", 1, "[one two]"},
		{"but for those in use", "one", 1, "[two three]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var names []string
			for _, revision := range planTrim(list, func(r *appsv1.ControllerRevision) bool { return r.Name == test.inUse }, test.limit) {
				names = append(names, revision.Name)
			}
			if fmt.Sprint(names) != test.want {
				t.Errorf("got %v, want %s", names, test.want)
			}
		})
	}
}
