package deployment

import (
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
)

func withImage(set *appsv1.ReplicaSet, image string) *appsv1.ReplicaSet {
	set.Spec.Template = template(image)
	set.Spec.Template.Labels[hashLabel] = "of-" + set.Name
	return set
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

func TestFindNew(t *testing.T) {
	d := deploymentOf(1, "1", "1")
	d.Spec.Template = template("b")
	tests := []struct {
		name    string
		sets    []*appsv1.ReplicaSet
		newest  string
		old     string
		nothing bool
	}{
		{"no sets", nil, "", "", true},
		{"none has the template", []*appsv1.ReplicaSet{withImage(setOf(1, 1, 1), "a")}, "", "web-1", true},
		{"the hash label does not count", []*appsv1.ReplicaSet{withImage(setOf(1, 1, 1), "a"), withImage(setOf(2, 1, 1), "b")}, "web-2", "web-1", false},
		{"after a rollback the older set is the newest", []*appsv1.ReplicaSet{withImage(setOf(2, 1, 1), "a"), withImage(setOf(1, 1, 1), "b")}, "web-1", "web-2", false},
		{"of two with the template it is the older", []*appsv1.ReplicaSet{withImage(setOf(2, 1, 1), "b"), withImage(setOf(1, 1, 1), "b")}, "web-1", "web-2", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			newest, old := findNew(d, test.sets)
			if (newest == nil) != test.nothing || (newest != nil && newest.Name != test.newest) {
				t.Errorf("newest is %v, want %q", newest, test.newest)
			}
			var names []string
			for _, set := range old {
				names = append(names, set.Name)
			}
			if got := strings.Join(names, " "); got != test.old {
				t.Errorf("old are %q, want %q", got, test.old)
			}
		})
	}
}

func TestNewSet(t *testing.T) {
	d := deploymentOf(4, "25%", "25%")
	d.UID = "d1"
	d.Annotations = map[string]string{"kubernetes.io/change-cause": "why", corev1.LastAppliedConfigAnnotation: "{}", revisionAnnotation: "1"}
	d.Spec.MinReadySeconds = 7
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template = template("a")
	set, err := newSet(d, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	hash := set.Labels[hashLabel]
	if set.Name != "web-"+hash || set.Spec.Selector.MatchLabels[hashLabel] != hash || set.Spec.Template.Labels[hashLabel] != hash {
		t.Errorf("the hash is not everywhere: %+v", set)
	}
	if faults := validation.IsValidLabelValue(hash); len(faults) > 0 || hash == "" {
		t.Errorf("hash %q is no label value: %v", hash, faults)
	}
	if sizeOf(set) != 2 || set.Spec.MinReadySeconds != 7 || !metav1.IsControlledBy(set, d) {
		t.Errorf("got %+v", set)
	}
	want := map[string]string{
		"kubernetes.io/change-cause": "why", revisionAnnotation: "3", desiredAnnotation: "4", maxReplicasAnnotation: "5",
	}
	if !maps.Equal(set.Annotations, want) {
		t.Errorf("annotations are %v, want %v", set.Annotations, want)
	}
	if d.Spec.Template.Labels[hashLabel] != "" || d.Spec.Selector.MatchLabels[hashLabel] != "" {
		t.Error("the Deployment itself was changed")
	}
}

// A stored set is found by its name after an upgrade, so a template's hash must
// never change.
func TestTemplateHashIsStable(t *testing.T) {
	a, b := template("a"), template("b")
	tests := []struct {
		name       string
		template   *corev1.PodTemplateSpec
		collisions *int32
		want       string
	}{
		{"a template", &a, nil, "8587857968"},
		{"another template", &b, nil, "6697867bf7"},
		{"the first one after a collision", &a, ptr.To[int32](1), "7c7bf54fb4"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := templateHash(test.template, test.collisions)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestPlanAnnotations(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat("10,", 667), ",") // 2000 characters
	tests := []struct {
		name     string
		d        map[string]string
		before   map[string]string
		revision int64
		want     map[string]string
	}{
		{"a new set gets its revision", nil, nil, 1, map[string]string{revisionAnnotation: "1"}},
		{"the Deployment's annotations are handed down", map[string]string{"a": "1"}, map[string]string{"b": "2", revisionAnnotation: "1"}, 1, map[string]string{"a": "1", "b": "2", revisionAnnotation: "1"}},
		{"its own ones are not", map[string]string{revisionAnnotation: "5", desiredAnnotation: "7"}, nil, 1, map[string]string{revisionAnnotation: "1"}},
		{"a higher revision stays", nil, map[string]string{revisionAnnotation: "4"}, 3, map[string]string{revisionAnnotation: "4"}},
		{"a rollback starts a history", nil, map[string]string{revisionAnnotation: "1"}, 3, map[string]string{revisionAnnotation: "3", revisionHistoryAnnotation: "1"}},
		{"another one adds to it", nil, map[string]string{revisionAnnotation: "3", revisionHistoryAnnotation: "1"}, 5, map[string]string{revisionAnnotation: "5", revisionHistoryAnnotation: "1,3"}},
		{"a long history loses its beginning", nil, map[string]string{revisionAnnotation: "10", revisionHistoryAnnotation: long}, 11, map[string]string{revisionAnnotation: "11", revisionHistoryAnnotation: long}},
		{"a broken revision is replaced", nil, map[string]string{revisionAnnotation: "x"}, 2, map[string]string{revisionAnnotation: "2", revisionHistoryAnnotation: "x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := deploymentOf(1, "1", "1")
			d.Annotations = test.d
			if got := planAnnotations(d, test.before, test.revision); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
