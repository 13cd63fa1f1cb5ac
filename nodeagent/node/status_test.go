package node

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestResourcesOfOthers: who advertises an extended resource writes the node's
// capacity, and the agent makes it allocatable.
func TestResourcesOfOthers(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return out
	}
	observed := Observed{Capacity: list("cpu", "4", "pods", "110"), Allocatable: list("cpu", "3", "pods", "110")}
	tests := map[string]struct {
		capacity, allocatable corev1.ResourceList
		want                  string
	}{
		"nothing changes":                       {list("cpu", "4", "pods", "110"), list("cpu", "3", "pods", "110"), `{}`},
		"a new resource is allocatable":         {list("cpu", "4", "pods", "110", "example.com/gpu", "2"), list("cpu", "3", "pods", "110"), `{"allocatable":{"example.com/gpu":"2"}}`},
		"one that is allocatable stays":         {list("cpu", "4", "pods", "110", "example.com/gpu", "2"), list("cpu", "3", "pods", "110", "example.com/gpu", "2"), `{}`},
		"more of one":                           {list("cpu", "4", "pods", "110", "example.com/gpu", "4"), list("cpu", "3", "pods", "110", "example.com/gpu", "2"), `{"allocatable":{"example.com/gpu":"4"}}`},
		"one that is gone is for nobody":        {list("cpu", "4", "pods", "110"), list("cpu", "3", "pods", "110", "example.com/gpu", "2"), `{"allocatable":{"example.com/gpu":null}}`},
		"one of the node's own is what it is":   {list("cpu", "8", "pods", "110"), list("cpu", "8", "pods", "110"), `{"allocatable":{"cpu":"3"},"capacity":{"cpu":"4"}}`},
		"one of a kind that is not known stays": {list("cpu", "4", "pods", "110", "hugepages-2Mi", "0"), list("cpu", "3", "pods", "110", "hugepages-2Mi", "0"), `{}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1_800_000_000, 0)
			old := planStatus(nil, observed, now)
			old.Capacity, old.Allocatable = test.capacity, test.allocatable
			planned := planStatus(&old, observed, now)
			patch := planPatch(&old, &planned, false)
			delete(patch, "conditions")
			if patch == nil {
				patch = map[string]any{}
			}
			got, err := json.Marshal(patch)
			if err != nil || string(got) != test.want {
				t.Errorf("got %s, want %s (%v)", got, test.want, err)
			}
		})
	}
}
