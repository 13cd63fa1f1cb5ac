package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// countPrefix begins the names that stand for the number of objects of a kind:
// "count/widgets.example.com".
const countPrefix = "count/"

// Ignored are the kinds that are not counted: they come and go, or are not
// stored (upstream's list, but for the reviews, of which nothing can be listed).
func Ignored() map[schema.GroupResource]struct{} {
	return map[schema.GroupResource]struct{}{
		{Resource: "bindings"}: {}, {Resource: "componentstatuses"}: {},
		{Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {},
	}
}

// Counters are the evaluators of kinds that are only counted, of those that
// names ask for and known has none of.
func Counters(names []corev1.ResourceName, known []quota.Evaluator, lister quota.ListerForResourceFunc) []quota.Evaluator {
	seen := Ignored()
	for _, e := range known {
		seen[e.GroupResource()] = struct{}{}
	}
	var out []quota.Evaluator
	for _, name := range names {
		resource, ok := strings.CutPrefix(string(name), countPrefix)
		if !ok {
			continue
		}
		gr := schema.ParseGroupResource(resource)
		if _, done := seen[gr]; done {
			continue
		}
		seen[gr] = struct{}{}
		out = append(out, generic.NewObjectCountEvaluator(gr, generic.ListResourceUsingListerFunc(lister, gr.WithVersion("")), ""))
	}
	return out
}
