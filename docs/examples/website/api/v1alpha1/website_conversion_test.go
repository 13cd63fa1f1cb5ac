package v1alpha1

import (
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

func TestASiteComesBackAsItWas(t *testing.T) {
	two := int32(2)
	for _, c := range []struct {
		name string
		site v1.Website
	}{
		{"the least", v1.Website{Spec: v1.WebsiteSpec{Greeting: "Hello"}}},
		{"all that there is", v1.Website{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"mine": "stays"}},
			Spec:       v1.WebsiteSpec{Greeting: "Hello", Replicas: &two, Image: "example.com/a:v1", Port: 8080},
			Status: v1.WebsiteStatus{
				ObservedGeneration: 3, Replicas: 2, Selector: "a=b", URL: "http://a/",
				Conditions: []metav1.Condition{{Type: v1.Available, Status: metav1.ConditionTrue, Reason: "Serving"}},
			},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, back := &Website{}, &v1.Website{}
			if err := old.ConvertFrom(c.site.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			if err := old.ConvertTo(back); err != nil {
				t.Fatal(err)
			}
			if len(back.Annotations) == 0 {
				back.Annotations = nil
			}
			if !apiequality.Semantic.DeepEqual(*back, c.site) {
				t.Errorf("got %+v, want %+v", *back, c.site)
			}
		})
	}
}
