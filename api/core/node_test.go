package core_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api/core"
)

var nodeKind = core.Node.Erase()

func node(t *testing.T, text string) *corev1.Node {
	t.Helper()
	n := decode(t, text, &corev1.Node{})
	core.Node.Default(n)
	return n
}

func TestNode(t *testing.T) {
	long := strings.Repeat("A", 254)
	for _, r := range []row{
		{"nothing", `{}`, nil},
		{"a full node", `{spec: {podCIDRs: [10.0.0.0/24, "fd00::/64"], providerID: p, taints: [{key: a, value: b, effect: NoSchedule}, {key: a, effect: NoExecute}]},
			status: {capacity: {cpu: 4, memory: 8Gi, example.com/gpu: 2}, declaredFeatures: [A, B/c]}}`, nil},
		{"wrong taints", `{spec: {taints: [{key: a b, effect: NoSchedule}, {key: a, value: b c, effect: Never}, {key: a}]}}`, []string{
			`metadata.taints[0].key: Invalid value: "a b": ` + labelKeyMsg,
			`metadata.taints[1].value: Invalid value: "b c": ` + labelValueMsg,
			`metadata.taints[1].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`,
			"metadata.taints[2].effect: Required value"}},
		{"a taint twice", `{spec: {taints: [{key: a, effect: NoSchedule}, {key: a, value: b, effect: NoSchedule}]}}`,
			[]string{`metadata.taints[1]: Duplicate value: {"key":"a","value":"b","effect":"NoSchedule"}: taints must be unique by key and effect pair`}},
		{"a part of a device", `{status: {capacity: {example.com/gpu: 500m}}}`, []string{
			`status.capacity.example.com/gpu: Invalid value: "500m": must be an integer`,
			`status.allocatable.example.com/gpu: Invalid value: "500m": must be an integer`}},
		{"less than nothing", `{status: {capacity: {cpu: 1}, allocatable: {cpu: -1}}}`,
			[]string{`status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0`}},
		{"no swap", `{status: {nodeInfo: {swap: {capacity: 0}}}}`, []string{"metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero"}},
		{"swap that is measured later", `{metadata: {resourceVersion: "1"}, status: {nodeInfo: {swap: {capacity: 0}}}}`, nil},
		{"pods that are better elsewhere", `{metadata: {annotations: {scheduler.alpha.kubernetes.io/preferAvoidPods: word}}}`,
			[]string{`metadata.annotations.AvoidPods: Invalid value: "scheduler.alpha.kubernetes.io/preferAvoidPods": invalid character 'w' looking for beginning of value`}},
		{"pods of nobody", `{metadata: {annotations: {scheduler.alpha.kubernetes.io/preferAvoidPods: '{"preferAvoidPods":[{}]}'}}}`,
			[]string{`metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature: Required value`}},
		{"features in no order", `{status: {declaredFeatures: [B, A, A, c]}}`, []string{
			`status.declaredFeatures[1]: Invalid value: "A": list must be sorted alphabetically`,
			`status.declaredFeatures[2]: Duplicate value: "A"`,
			`status.declaredFeatures[3]: Invalid value: "c": invalid feature name "c": must start with an UpperCamelCase segment…`}},
		{"a long feature", `{status: {declaredFeatures: [` + long + `]}}`,
			[]string{`status.declaredFeatures[0]: Invalid value: "` + long + `": invalid feature name "` + long + `": must be no more than 253 characters`}},
		{"no range", `{spec: {podCIDR: x}}`, []string{`spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"two ranges of a family", `{spec: {podCIDRs: [10.0.0.0/24, 10.0.1.0/24]}}`,
			[]string{`spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family`}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(nodeKind.Validate(t.Context(), node(t, r.yaml))), r.want)
		})
	}
}

func TestNodeUpdate(t *testing.T) {
	for _, u := range []update{
		{"nothing", `{}`, `{}`, nil},
		{"labels and taints", `{}`, `{metadata: {labels: {a: b}}, spec: {unschedulable: true, taints: [{key: a, effect: NoSchedule}]}}`, nil},
		{"its range", `{}`, `{spec: {podCIDR: 10.0.0.0/24, providerID: p}}`, nil},
		{"another range", `{spec: {podCIDR: 10.0.0.0/24}}`, `{spec: {podCIDR: 10.0.1.0/24}}`,
			[]string{`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		{"no range any more", `{spec: {podCIDR: 10.0.0.0/24}}`, `{}`,
			[]string{`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		{"another provider", `{spec: {providerID: p}}`, `{spec: {providerID: q}}`, []string{"spec.providerID: Invalid value: null: field cannot be modified once set"}},
		{"no provider any more", `{spec: {providerID: p}}`, `{}`, []string{"spec.providerID: Invalid value: null: field cannot be cleared once set"}},
		{"another external name", `{spec: {externalID: p}}`, `{spec: {externalID: q}}`, []string{"spec.externalID: Forbidden: may not be updated"}},
		{"an address twice", `{}`, `{status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: ExternalIP, address: 10.0.0.1}, {type: InternalIP, address: 10.0.0.1}]}}`,
			[]string{`status.addresses[2]: Duplicate value: {"type":"InternalIP","address":"10.0.0.1"}`}},
	} {
		t.Run(u.name, func(t *testing.T) {
			is, was := node(t, u.is), node(t, u.was)
			same(t, texts(nodeKind.ValidateUpdate(t.Context(), is, was)), u.want)
			same(t, texts(nodeKind.Status.Validate(is, was)), u.want)
		})
	}
}

func TestNodeDefaults(t *testing.T) {
	for _, c := range []change{
		{"all is allocatable", `{status: {capacity: {cpu: 4}}}`, `{status: {allocatable: {cpu: "4"}}}`},
		{"a part is allocatable", `{status: {capacity: {cpu: 4}, allocatable: {cpu: 3}}}`, `{status: {allocatable: {cpu: "3"}}}`},
		{"amounts are of thousandths", `{status: {capacity: {cpu: 1u}}}`, `{status: {capacity: {cpu: 1m}}}`},
		{"a range makes a list", `{spec: {podCIDR: 10.0.0.0/24}}`, `{spec: {podCIDRs: [10.0.0.0/24]}}`},
		{"a list makes a range", `{spec: {podCIDRs: [10.0.0.0/24, "fd00::/64"]}}`, `{spec: {podCIDR: 10.0.0.0/24}}`},
		{"of two ranges the older field is right", `{spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.1.0/24]}}`, `{spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.0.0/24]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := node(t, c.is)
			contains(t, n, c.becomes)
			again := n.DeepCopy()
			core.Node.Default(again)
			if !equal(n, again) {
				t.Error("Defaults of defaults differ.")
			}
		})
	}
}

func TestPrepareNode(t *testing.T) {
	const text = `{spec: {configSource: {}}, status: {config: {}, phase: Running}}`
	made := node(t, text)
	nodeKind.Status.ResetOnCreate(made)
	nodeKind.PrepareCreate(t.Context(), made)
	contains(t, made, `{spec: {configSource: null}, status: {config: null, phase: Running}}`)
	changed := node(t, text)
	nodeKind.PrepareUpdate(t.Context(), changed, made)
	nodeKind.Status.PrepareUpdate(changed, made)
	contains(t, changed, `{spec: {configSource: null}, status: {config: null}}`)
}

func TestNodeColumns(t *testing.T) {
	wide := []string{"Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime", "Version"}
	same(t, cells(t, nodeKind, &corev1.Node{}, wide...), []string{"<none>", "<none>", "<unknown>", "<unknown>", "<unknown>", ""})
	same(t, cells(t, nodeKind, node(t, `{status: {
		addresses: [{type: Hostname, address: h}, {type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: "fd00::1"}, {type: ExternalIP, address: 1.2.3.4}],
		nodeInfo: {osImage: Debian, kernelVersion: "6.1", containerRuntimeVersion: "containerd://2", kubeletVersion: v1.37.2}}}`), wide...),
		[]string{"10.0.0.1", "1.2.3.4", "Debian", "6.1", "containerd://2", "v1.37.2"})
	for _, r := range []row{
		{"never heard of", `{}`, []string{"Unknown", "<none>"}},
		{"ready", `{status: {conditions: [{type: DiskPressure, status: "False"}, {type: Ready, status: "True"}]}}`, []string{"Ready", "<none>"}},
		{"not ready", `{status: {conditions: [{type: Ready, status: "False"}]}}`, []string{"NotReady", "<none>"}},
		{"not heard of", `{status: {conditions: [{type: Ready, status: Unknown}]}}`, []string{"NotReady", "<none>"}},
		{"cordoned", `{spec: {unschedulable: true}, status: {conditions: [{type: Ready, status: "True"}]}}`, []string{"Ready,SchedulingDisabled", "<none>"}},
		{"roles", `{metadata: {labels: {node-role.kubernetes.io/worker: "", node-role.kubernetes.io/control-plane: "", kubernetes.io/role: edge, node-role.kubernetes.io/: x}}}`,
			[]string{"Unknown", "control-plane,edge,worker"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, cells(t, nodeKind, node(t, r.yaml), "Status", "Roles"), r.want)
		})
	}
}

func TestNodeFieldsAndWarnings(t *testing.T) {
	n := node(t, `{spec: {unschedulable: true, externalID: x}}`)
	if got := nodeKind.Fields(n).String(); got != "spec.unschedulable=true" {
		t.Errorf("Fields are %s.", got)
	}
	same(t, nodeKind.Warnings(t.Context(), n, nil), []string{"spec.externalID: this field is deprecated, and is unused by Kubernetes"})
	same(t, nodeKind.Warnings(t.Context(), node(t, `{}`), n), nil)
}
