package scheduling

import (
	"fmt"

	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Workload holds the templates of the groups of pods that are scheduled
// together.
var Workload = api.Of[schedulingv1beta1.Workload]{
	Group: schedulingv1beta1.GroupName, Version: "v1beta1", Kind: "Workload", Resource: "workloads",

	Validate: checkTemplates,
	ValidateCreate: func(w *schedulingv1beta1.Workload) field.ErrorList {
		return checkBeta(schedulingv1alpha3.Validate_WorkloadSpec, field.NewPath("spec"), &w.Spec, nil)
	},
	ValidateUpdate: func(w, old *schedulingv1beta1.Workload) field.ErrorList {
		return checkBeta(schedulingv1alpha3.Validate_WorkloadSpec, field.NewPath("spec"), &w.Spec, &old.Spec)
	},

	Columns: []api.Column[schedulingv1beta1.Workload]{
		print.Name[schedulingv1beta1.Workload](), print.Age[schedulingv1beta1.Workload](),
	},
}

// checkTemplates checks what only the whole tree of templates shows: that no
// name is in two of its lists, that it is not too deep, and that all have one
// priority.
func checkTemplates(w *schedulingv1beta1.Workload) field.ErrorList {
	t, fld := tree{lists: map[string]string{}}, field.NewPath("spec")
	composites := fld.Child("compositePodGroupTemplates")
	for i := range w.Spec.CompositePodGroupTemplates {
		t.visit(&w.Spec.CompositePodGroupTemplates[i], composites, i)
	}
	for i := range w.Spec.CompositePodGroupTemplates {
		if c := &w.Spec.CompositePodGroupTemplates[i]; depth(c) >= schedulingv1beta1.WorkloadMaxTreeDepth {
			t.Invalid(composites.Index(i), c.CompositePodGroupTemplates, fmt.Sprintf("maximum template hierarchy depth is %d", schedulingv1beta1.WorkloadMaxTreeDepth))
		}
	}
	for i := range w.Spec.PodGroupTemplates {
		t.priority(w.Spec.PodGroupTemplates[i].PriorityClassName, w.Spec.PodGroupTemplates[i].Priority)
	}
	if t.mixed {
		t.Invalid(fld, nil, "detected multiple priority configurations")
	}
	return t.List()
}

// tree is what was seen of a tree of templates.
type tree struct {
	validate.Errors
	lists map[string]string // the list that a name was first seen in, by name
	first *importance
	mixed bool
}

// importance is how a template says that its groups are important.
type importance struct {
	class string
	value *int32
}

func (t *tree) visit(c *schedulingv1beta1.CompositePodGroupTemplate, list *field.Path, i int) {
	t.name(c.Name, list, i)
	t.priority(c.PriorityClassName, c.Priority)
	p := list.Index(i)
	for j := range c.CompositePodGroupTemplates {
		t.visit(&c.CompositePodGroupTemplates[j], p.Child("compositePodGroupTemplates"), j)
	}
	for j := range c.PodGroupTemplates {
		g := &c.PodGroupTemplates[j]
		t.name(g.Name, p.Child("podGroupTemplates"), j)
		t.priority(g.PriorityClassName, g.Priority)
	}
}

// name leaves names that are twice in one list to the rules of lists.
func (t *tree) name(name string, list *field.Path, i int) {
	if at, seen := t.lists[name]; seen && at != list.String() {
		t.Duplicate(list.Index(i).Child("name"), name)
		return
	}
	t.lists[name] = list.String()
}

func (t *tree) priority(class string, value *int32) {
	if t.first == nil {
		t.first = &importance{class, value}
	}
	t.mixed = t.mixed || t.first.class != class || !ptr.Equal(t.first.value, value)
}

// depth counts the levels of composite templates.
func depth(c *schedulingv1beta1.CompositePodGroupTemplate) int {
	deepest := 0
	for i := range c.CompositePodGroupTemplates {
		deepest = max(deepest, depth(&c.CompositePodGroupTemplates[i]))
	}
	return deepest + 1
}
