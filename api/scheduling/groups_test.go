package scheduling_test

import (
	"strings"
	"testing"

	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/scheduling"
)

type (
	leaf      = schedulingv1beta1.PodGroupTemplate
	composite = schedulingv1beta1.CompositePodGroupTemplate
)

// gang is a template of a group that is scheduled in whole.
func gang(name string, pods int32, change ...func(*leaf)) leaf {
	t := leaf{Name: name, SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: pods}}}
	for _, f := range change {
		f(&t)
	}
	return t
}

func over(name string, children []composite, leaves ...leaf) composite {
	return composite{
		Name: name, CompositePodGroupTemplates: children, PodGroupTemplates: leaves,
		SchedulingPolicy: schedulingv1beta1.CompositePodGroupSchedulingPolicy{Basic: &schedulingv1beta1.CompositeBasicSchedulingPolicy{}},
	}
}

func workload(change func(*schedulingv1beta1.WorkloadSpec)) *schedulingv1beta1.Workload {
	w := &schedulingv1beta1.Workload{ObjectMeta: metav1.ObjectMeta{Name: "train", Namespace: "ml"}}
	change(&w.Spec)
	return w
}

func flat(leaves ...leaf) *schedulingv1beta1.Workload {
	return workload(func(s *schedulingv1beta1.WorkloadSpec) { s.PodGroupTemplates = leaves })
}

func deep(tops ...composite) *schedulingv1beta1.Workload {
	return workload(func(s *schedulingv1beta1.WorkloadSpec) { s.CompositePodGroupTemplates = tops })
}

func TestWorkloads(t *testing.T) {
	important := func(l *leaf) { l.Priority = ptr.To[int32](7) }
	for _, c := range []struct {
		name     string
		workload *schedulingv1beta1.Workload
		want     []string
	}{
		{"it has groups", flat(gang("driver", 1), gang("workers", 8)), nil},
		{"it has something", flat(), []string{"spec: Invalid value: \"\": must specify one of: `podGroupTemplates`, `compositePodGroupTemplates`"}},
		{"it has one sort of templates", workload(func(s *schedulingv1beta1.WorkloadSpec) {
			s.PodGroupTemplates, s.CompositePodGroupTemplates = []leaf{gang("a", 1)}, []composite{over("b", nil, gang("c", 1))}
		}), []string{"spec: Invalid value: \"{podGroupTemplates, compositePodGroupTemplates}\": must specify exactly one of: `podGroupTemplates`, `compositePodGroupTemplates`"}},
		{
			"there are eight groups at most", flat(gang("a", 1), gang("b", 1), gang("c", 1), gang("d", 1), gang("e", 1), gang("f", 1), gang("g", 1), gang("h", 1), gang("i", 1)),
			[]string{"spec.podGroupTemplates: Too many: 9: must have at most 8 items"},
		},
		{"a name is a label", flat(gang("A", 1)), []string{`spec.podGroupTemplates[0].name: Invalid value: "A": a lowercase RFC 1123 label`}},
		{"a name is once in a list", flat(gang("a", 1), gang("a", 2)), []string{"spec.podGroupTemplates[1]: Duplicate value"}},
		{"a gang has a size", flat(gang("a", 0)), []string{"spec.podGroupTemplates[0].schedulingPolicy.gang.minCount: Required value"}},
		{"a gang's size is positive", flat(gang("a", -1)), []string{"spec.podGroupTemplates[0].schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1"}},
		{"a group has a policy", flat(leaf{Name: "a"}), []string{"spec.podGroupTemplates[0].schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"}},
		{"users have no priority of the system", flat(gang("a", 1, func(l *leaf) { l.Priority = ptr.To[int32](1_000_000_001) })), []string{
			"spec.podGroupTemplates[0].priority: Invalid value: 1000000001: must be less than or equal to 1000000000",
		}},
		{"all have one priority", flat(gang("a", 1, important), gang("b", 1)), []string{`spec: Invalid value: null: detected multiple priority configurations`}},
		{"a claim is one of two sorts", flat(gang("a", 1, func(l *leaf) {
			l.ResourceClaims = []schedulingv1beta1.PodGroupResourceClaim{{Name: "gpu"}}
		})), []string{"spec.podGroupTemplates[0].resourceClaims[0]: Invalid value: \"\": must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"}},
		{"a controller is named in full", workload(func(s *schedulingv1beta1.WorkloadSpec) {
			s.PodGroupTemplates, s.ControllerRef = []leaf{gang("a", 1)}, &schedulingv1beta1.TypedLocalObjectReference{APIGroup: "batch", Kind: "a/b"}
		}), []string{`spec.controllerRef.kind: Invalid value: "a/b": may not contain '/'`, "spec.controllerRef.name: Required value"}},
		{"groups of groups have three levels", deep(over("a", []composite{over("b", []composite{over("c", nil, gang("d", 1))})})), nil},
		{
			"groups of groups have no fourth level", deep(over("a", []composite{over("b", []composite{over("c", []composite{over("d", nil, gang("e", 1))})})})),
			[]string{"spec.compositePodGroupTemplates[0]: Invalid value: [{"},
		},
		{"a name is once in a tree", deep(over("a", []composite{over("b", nil, gang("a", 1))}), over("c", nil, gang("b", 1))), []string{
			`spec.compositePodGroupTemplates[0].compositePodGroupTemplates[0].podGroupTemplates[0].name: Duplicate value: "a"`,
			`spec.compositePodGroupTemplates[1].podGroupTemplates[0].name: Duplicate value: "b"`,
		}},
		{"a tree has one priority", deep(over("a", nil, gang("b", 1, important))), []string{`spec: Invalid value: null: detected multiple priority configurations`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, append(scheduling.Workload.Validate(c.workload), scheduling.Workload.ValidateCreate(c.workload)...), c.want...)
		})
	}
}

func TestWorkloadsChangeInSizeOnly(t *testing.T) {
	old := flat(gang("a", 1), gang("b", 2))
	for _, c := range []struct {
		name     string
		workload *schedulingv1beta1.Workload
		want     []string
	}{
		{"nothing changes", flat(gang("a", 1), gang("b", 2)), nil},
		{"a gang grows", flat(gang("a", 5), gang("b", 2)), nil},
		{"no group comes or goes", flat(gang("a", 1), gang("c", 2)), []string{
			"spec.podGroupTemplates[1]: Forbidden: item may not be added", "spec.podGroupTemplates: Forbidden: item may not be removed",
		}},
		{"a group keeps its priority", flat(gang("a", 1, func(l *leaf) { l.Priority = ptr.To[int32](7) }), gang("b", 2)), []string{
			"spec.podGroupTemplates[0].priority: Invalid value: null: field is immutable",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, scheduling.Workload.ValidateUpdate(c.workload, old), c.want...) })
	}
}

func podGroup(change ...func(*schedulingv1beta1.PodGroup)) *schedulingv1beta1.PodGroup {
	g := &schedulingv1beta1.PodGroup{Spec: schedulingv1beta1.PodGroupSpec{
		SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: 4}},
		WorkloadRef:      &schedulingv1beta1.WorkloadReference{WorkloadName: "train", TemplateName: "workers"},
		ResourceClaims:   []schedulingv1beta1.PodGroupResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To("gpus")}},
	}}
	scheduling.PodGroup.Default(g)
	for _, f := range change {
		f(g)
	}
	return g
}

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, LastTransitionTime: metav1.Now()}
}

func TestPodGroups(t *testing.T) {
	type group = schedulingv1beta1.PodGroup
	for _, c := range []struct {
		name  string
		group *group
		want  []string
	}{
		{"it is a gang", podGroup(), nil},
		{"a workload is named in full", podGroup(func(g *group) { g.Spec.WorkloadRef.TemplateName = "" }), []string{"spec.workloadRef.templateName: Required value"}},
		{"it has one policy", podGroup(func(g *group) { g.Spec.SchedulingPolicy.Basic = &schedulingv1beta1.BasicSchedulingPolicy{} }), []string{
			"spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`",
		}},
		{"it has one mode of disruption", podGroup(func(g *group) { g.Spec.DisruptionMode.All = &schedulingv1beta1.AllDisruptionMode{} }), []string{
			"spec.disruptionMode: Invalid value: \"{single, all}\": must specify exactly one of: `single`, `all`",
		}},
		{"it keeps to one topology", podGroup(func(g *group) {
			g.Spec.SchedulingConstraints = &schedulingv1beta1.PodGroupSchedulingConstraints{Topology: make([]schedulingv1beta1.TopologyConstraint, 2)}
		}), []string{"spec.schedulingConstraints.topology: Too many: 2: must have at most 1 item"}},
		{"a topology is a label", podGroup(func(g *group) {
			g.Spec.SchedulingConstraints = &schedulingv1beta1.PodGroupSchedulingConstraints{Topology: []schedulingv1beta1.TopologyConstraint{{Key: "a b"}}}
		}), []string{`spec.schedulingConstraints.topology[0].key: Invalid value: "a b": name part must consist of`}},
		{"it preempts or not", podGroup(func(g *group) { g.Spec.PreemptionPolicy = ptr.To[schedulingv1beta1.PreemptionPolicy]("Maybe") }), []string{
			`spec.preemptionPolicy: Unsupported value: "Maybe": supported values: "Never", "PreemptLowerPriority"`,
		}},
		{"its parent has a name", podGroup(func(g *group) { g.Spec.ParentCompositePodGroupName = ptr.To("A") }), []string{`spec.parentCompositePodGroupName: Invalid value: "A": a lowercase RFC 1123 subdomain`}},
		{"four claims are shared at most", podGroup(func(g *group) { g.Spec.ResourceClaims = make([]schedulingv1beta1.PodGroupResourceClaim, 5) }), []string{
			"spec.resourceClaims: Too many: 5: must have at most 4 items",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, scheduling.PodGroup.ValidateCreate(c.group), c.want...) })
	}
	for _, c := range []struct {
		name  string
		group *group
		want  []string
	}{
		{"it grows", podGroup(func(g *group) { g.Spec.SchedulingPolicy.Gang.MinCount = 9 }), nil},
		{"it stays a gang", podGroup(func(g *group) {
			g.Spec.SchedulingPolicy = schedulingv1beta1.PodGroupSchedulingPolicy{Basic: &schedulingv1beta1.BasicSchedulingPolicy{}}
		}), []string{
			"spec.schedulingPolicy.basic: Invalid value: null: field is immutable", "spec.schedulingPolicy.gang: Invalid value: null: field cannot be cleared once set",
		}},
		{"it stays the workload's", podGroup(func(g *group) { g.Spec.WorkloadRef = nil }), []string{"spec.workloadRef: Invalid value: null: field is immutable"}},
		{"it keeps its claims", podGroup(func(g *group) { g.Spec.ResourceClaims = nil }), []string{"spec.resourceClaims: Invalid value: null: field is immutable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, scheduling.PodGroup.ValidateUpdate(c.group, podGroup()), c.want...)
		})
	}
}

func TestStatusOfPodGroups(t *testing.T) {
	type group = schedulingv1beta1.PodGroup
	with := func(conditions ...metav1.Condition) *group {
		return podGroup(func(g *group) { g.Status.Conditions = conditions })
	}
	scheduled := condition(schedulingv1beta1.PodGroupInitiallyScheduled, metav1.ConditionTrue, "Scheduled")
	claims := func(names ...string) *group {
		return podGroup(func(g *group) {
			for _, n := range names {
				g.Status.ResourceClaimStatuses = append(g.Status.ResourceClaimStatuses, schedulingv1beta1.PodGroupResourceClaimStatus{Name: n, ResourceClaimName: ptr.To("made")})
			}
		})
	}
	for _, c := range []struct {
		name  string
		group *group
		want  []string
	}{
		{"it is scheduled", with(scheduled), nil},
		{"a condition has a reason", with(condition("A", metav1.ConditionTrue, "")), []string{"status.conditions[0].reason: Required value"}},
		{"a condition is there once", with(scheduled, scheduled), []string{"status.conditions[1]: Duplicate value"}},
		{"claims are the spec's", claims("gpu"), nil},
		{"no other claims are", claims("tpu"), []string{"status.resourceClaimStatuses[0].name: Invalid value: \"tpu\": must match the name of an entry in `spec.resourceClaims`"}},
		{"a claim is there once", claims("gpu", "gpu"), []string{"status.resourceClaimStatuses[1]: Duplicate value"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, scheduling.PodGroup.Status.Validate(c.group, podGroup()), c.want...)
		})
	}
	for _, c := range []struct {
		name  string
		group *group
		want  string
	}{
		{"a new gang waits", podGroup(), "Gang train Pending"},
		{"a scheduled one is", with(scheduled), "Gang train Scheduled"},
		{"one may not fit", with(condition(schedulingv1beta1.PodGroupInitiallyScheduled, metav1.ConditionFalse, "Unschedulable")), "Gang train Unschedulable"},
		{"one may have to go", with(scheduled, condition(schedulingv1beta1.DisruptionTarget, metav1.ConditionTrue, "PreemptionByScheduler")), "Gang train PreemptionByScheduler"},
		{"one may be nobody's", &group{}, "Basic <none> Pending"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cells []string
			for _, v := range scheduling.PodGroup.Erase().Cells(c.group)[1:4] {
				cells = append(cells, v.(string))
			}
			if got := strings.Join(cells, " "); got != c.want {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestCompositePodGroups(t *testing.T) {
	type group = schedulingv1alpha3.CompositePodGroup
	of := func(change ...func(*group)) *group {
		g := &group{Spec: schedulingv1alpha3.CompositePodGroupSpec{
			SchedulingPolicy: schedulingv1alpha3.CompositePodGroupSchedulingPolicy{Gang: &schedulingv1alpha3.CompositeGangSchedulingPolicy{MinGroupCount: 2}},
			WorkloadRef:      &schedulingv1alpha3.WorkloadReference{WorkloadName: "train", TemplateName: "all"},
		}}
		scheduling.CompositePodGroup.Default(g)
		for _, f := range change {
			f(g)
		}
		return g
	}
	if g := of(); g.Spec.DisruptionMode.Single == nil || g.Spec.DisruptionMode.All != nil {
		t.Errorf("the mode of disruption is %+v by default", g.Spec.DisruptionMode)
	}
	for _, c := range []struct {
		name  string
		group *group
		want  []string
	}{
		{"it is a gang", of(), nil},
		{"it is of a workload", of(func(g *group) { g.Spec.WorkloadRef = nil }), []string{"spec.workloadRef: Required value"}},
		{"a gang has a size", of(func(g *group) { g.Spec.SchedulingPolicy.Gang.MinGroupCount = 0 }), []string{"spec.schedulingPolicy.gang.minGroupCount: Required value"}},
		{"a priority class has a name", of(func(g *group) { g.Spec.PriorityClassName = "a/b" }), []string{`spec.priorityClassName: Invalid value: "a/b": a lowercase RFC 1123 subdomain`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, scheduling.CompositePodGroup.ValidateCreate(c.group), c.want...)
		})
	}
	other := of(func(g *group) { g.Spec.SchedulingPolicy.Gang.MinGroupCount = 3 })
	kindtest.Errors(t, scheduling.CompositePodGroup.ValidateUpdate(of(), of()))
	kindtest.Errors(t, scheduling.CompositePodGroup.ValidateUpdate(other, of()), "spec.schedulingPolicy: Invalid value: null: field is immutable")
	kindtest.Errors(t, scheduling.CompositePodGroup.Status.Validate(of(func(g *group) {
		g.Status.Conditions = []metav1.Condition{condition("A", "Maybe", "R")}
	}), of()), `status.conditions[0].status: Unsupported value: "Maybe"`)
	if c := scheduling.CompositePodGroup.Erase().Cells(of()); c[1] != "Gang" || c[2] != "train" {
		t.Errorf("%v", c)
	}
}
