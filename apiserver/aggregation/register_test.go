package aggregation

import (
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func TestPlan(t *testing.T) {
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	want := managed(gv, Priority{customGroup, customVersion}, always)
	changed := want.DeepCopy()
	changed.Spec.VersionPriority = 7
	taken := want.DeepCopy()
	taken.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: "a", Name: "b"}
	mine := want.DeepCopy()
	mine.Labels = nil
	for _, c := range []struct {
		name       string
		want, have *apiregistrationv1.APIService
		do         change
	}{
		{"nothing is wanted and there is nothing", nil, nil, nothing},
		{"a new definition gets one", want, nil, create},
		{"one that is right stays", want, want, nothing},
		{"one that was changed is changed back", want, changed, update},
		{"one that was given away is taken back", want, taken, update},
		{"a user's own stays as it is", want, mine, nothing},
		{"a user's own outlives the definition", nil, mine, nothing},
		{"the definition takes its own with it", nil, want, remove},
		{"those of built-in groups are of no definition", nil, managed(gv, Priority{1, 1}, atStart), nothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := plan(c.want, c.have); got != c.do {
				t.Errorf("%d, want %d", got, c.do)
			}
		})
	}
}

func TestOnlyServedVersionsAreRegistered(t *testing.T) {
	d := &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true}, {Name: "v1beta1"}},
	}}
	for version, want := range map[string]bool{"v1": true, "v1beta1": false, "v2": false} {
		if got := custom(schema.GroupVersion{Group: "example.com", Version: version}, []*apiextensionsv1.CustomResourceDefinition{d}); (got != nil) != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}

func TestOrderOfDiscovery(t *testing.T) {
	gv := func(group, version string) schema.GroupVersion {
		return schema.GroupVersion{Group: group, Version: version}
	}
	want := []schema.GroupVersion{
		gv("", "v1"), gv("apps", "v1"), gv("autoscaling", "v2"), gv("autoscaling", "v1"), gv("batch", "v1"),
		gv("admissionregistration.k8s.io", "v1"), gv("admissionregistration.k8s.io", "v1beta1"), gv("apiextensions.k8s.io", "v1"),
		gv("resource.k8s.io", "v1"), gv("resource.k8s.io", "v1beta2"), gv("resource.k8s.io", "v1beta1"),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	if slices.SortFunc(got, Compare); !slices.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if s, ok := Local(gv("autoscaling", "v2")); !ok || s.Name != "v2.autoscaling" || s.Spec.GroupPriorityMinimum != 17500 || s.Spec.VersionPriority != 30 {
		t.Errorf("%v", s)
	}
	if _, ok := Local(gv(apiregistrationv1.GroupName, "v1")); ok {
		t.Error("the group of APIServices has one of its own")
	}
}
