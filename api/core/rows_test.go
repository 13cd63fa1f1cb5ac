package core_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/skiffcluster/skiff/api/core"
)

var podKind = core.Pod.Erase()

// row is a case of a table: what is written, and what is said to it. An error
// that ends with … is compared up to there.
type row struct {
	name string
	yaml string
	want []string
}

// decode reads YAML over what is there already; unknown fields fail.
func decode[T any](t *testing.T, text string, into *T) *T {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("Decode %s: %v", text, err)
	}
	return into
}

// pod is a valid pod that has the given parts besides, with its defaults.
func pod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := decode(t, text, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod", Namespace: "ns", UID: "1"},
	})
	if p.Spec.Containers == nil {
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "image:1"}}
	}
	core.Pod.Default(p)
	return p
}

// texts are errors as users see them.
func texts(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		list = append(list, e.Error())
	}
	return list
}

// same fails when the lists differ.
func same(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(g, w string) bool {
		if begin, cut := strings.CutSuffix(w, "…"); cut {
			return strings.HasPrefix(g, begin)
		}
		return g == w
	}) {
		t.Errorf("Got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func equal(a, b any) bool { return apiequality.Semantic.DeepEqual(a, b) }

// checkRows validates a pod for each row; wrap makes YAML of a pod's spec of
// the row's YAML.
func checkRows(t *testing.T, rows []row, wrap func(string) string) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p := pod(t, "{spec: "+wrap(r.yaml)+"}")
			same(t, texts(podKind.Validate(t.Context(), p)), r.want)
		})
	}
}

func asSpec(text string) string { return text }

// asContainer makes a pod's only container of the row.
func asContainer(text string) string {
	return "{containers: [" + withNames(text) + "], volumes: [" +
		"{name: v, emptyDir: {}}, {name: claim, persistentVolumeClaim: {claimName: c}}, {name: img, image: {reference: r}}]}"
}

// asInit makes a pod's only init container of the row.
func asInit(text string) string {
	return "{initContainers: [{name: init, image: i, " + strings.TrimPrefix(text, "{") + "]}"
}

// asVolume makes a pod's only volume of the row.
func asVolume(text string) string {
	return "{serviceAccountName: sa, volumes: [{name: v, " + strings.TrimPrefix(text, "{") + "]}"
}

// withNames gives a container what it needs, unless it has it.
func withNames(text string) string {
	text = strings.TrimPrefix(text, "{")
	if !strings.Contains(text, "image:") {
		text = "image: i, " + text
	}
	if !strings.HasPrefix(text, "name:") {
		text = "name: c, " + text
	}
	return "{" + text
}
