package rootca

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlan(t *testing.T) {
	published := func(data map[string]string, annotations map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: ConfigMapName, ResourceVersion: "7", Annotations: annotations},
			Data:       data,
		}
	}
	described := map[string]string{descriptionAnnotation: description}
	for _, c := range []struct {
		name  string
		found *corev1.ConfigMap
		write bool
	}{
		{"a missing ConfigMap is created", nil, true},
		{"the right content is left alone", published(map[string]string{key: "CA"}, described), false},
		{"an edited certificate is restored", published(map[string]string{key: "other"}, described), true},
		{"an added key is removed", published(map[string]string{key: "CA", "more": "x"}, described), true},
		{"a lost description is put back", published(map[string]string{key: "CA"}, nil), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(c.found, "team", []byte("CA"))
			if (got != nil) != c.write {
				t.Fatalf("plan wrote %v, want a write: %v", got, c.write)
			}
			if got == nil {
				return
			}
			if got.Namespace != "team" || got.Name != ConfigMapName || len(got.Data) != 1 || got.Data[key] != "CA" || got.Annotations[descriptionAnnotation] != description {
				t.Errorf("plan wrote %+v", got)
			}
			if c.found != nil && got.ResourceVersion != "7" {
				t.Errorf("an update goes out without the resourceVersion that was read")
			}
		})
	}
}
