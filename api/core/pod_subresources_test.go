package core_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api/core"
)

func TestBinding(t *testing.T) {
	for _, r := range []row{
		{"to a node", `{target: {kind: Node, name: a}}`, nil},
		{"to something", `{target: {name: a}}`, nil},
		{"to nothing", `{}`, []string{"target.name: Required value"}},
		{"to a pod", `{target: {kind: Pod, name: a}}`, []string{`target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"`}},
		{"to no name", `{target: {name: a_b}}`, []string{`target.name: Invalid value: "a_b": a lowercase RFC 1123 subdomain…`}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(core.ValidateBinding(decode(t, r.yaml, &corev1.Binding{}))), r.want)
		})
	}
}

func TestEviction(t *testing.T) {
	for _, r := range []row{
		{"with nothing else", `{}`, nil},
		{"with a grace", `{deleteOptions: {gracePeriodSeconds: 3}}`, nil},
		{"with two ways", `{deleteOptions: {orphanDependents: true, propagationPolicy: Orphan}}`,
			[]string{`propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set`}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(core.ValidateEviction(decode(t, r.yaml, &policyv1.Eviction{}))), r.want)
		})
	}
}

func TestPodLogOptions(t *testing.T) {
	for _, r := range []row{
		{"all", `{}`, nil},
		{"a part", `{tailLines: 0, limitBytes: 1, sinceSeconds: 1, stream: All}`, nil},
		{"from a time", `{sinceTime: "2020-01-01T00:00:00Z"}`, nil},
		{"fewer than no lines", `{tailLines: -1}`, []string{"tailLines: Invalid value: -1: must be greater than or equal to 0"}},
		{"no bytes", `{limitBytes: 0}`, []string{"limitBytes: Invalid value: 0: must be greater than 0"}},
		{"for no time", `{sinceSeconds: 0}`, []string{"sinceSeconds: Invalid value: 0: must be greater than 0"}},
		{"from two times", `{sinceSeconds: 1, sinceTime: "2020-01-01T00:00:00Z"}`,
			[]string{"[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"}},
		{"one stream", `{stream: Stdout}`, nil},
		{"another stream", `{stream: stdin}`, []string{`stream: Unsupported value: "stdin": supported values: "Stdout", "Stderr", "All"`}},
		{"lines of one stream", `{stream: Stderr, tailLines: 1}`, []string{"[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(core.ValidatePodLogOptions(decode(t, r.yaml, &corev1.PodLogOptions{}))), r.want)
		})
	}
}

func TestEphemeralContainersUpdate(t *testing.T) {
	const one, two = `{name: a, image: i, targetContainerName: c}`, `{name: b, image: i}`
	list := func(list string) string { return "{spec: {ephemeralContainers: [" + list + "]}}" }
	const mirror = `{metadata: {annotations: {kubernetes.io/config.mirror: x}}, spec: {nodeName: node}}`
	for _, u := range []update{
		{"the first", `{}`, list(one), nil},
		{"one more", list(one), list(one + "," + two), nil},
		{"one less", list(one), `{}`, []string{"spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be removed\n"}},
		{"another", list(`{name: a, image: i}`), list(`{name: a, image: j}`),
			[]string{"spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be changed\n…"}},
		{"with the name of a container", `{}`, list(`{name: c, image: i}`), []string{`spec.ephemeralContainers[0].name: Duplicate value: "c"`}},
		{"with a probe", `{}`, list(`{name: a, image: i, livenessProbe: {exec: {command: [a]}}}`),
			[]string{"spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container"}},
		{"to a static pod", mirror, mirror, []string{"[]: Forbidden: static pods do not support ephemeral containers"}},
	} {
		t.Run(u.name, func(t *testing.T) {
			p, old := pod(t, u.is), pod(t, u.was)
			core.PrepareEphemeralContainersUpdate(p, old)
			same(t, texts(core.ValidateEphemeralContainersUpdate(p, old)), u.want)
		})
	}
}

func TestEphemeralContainersUpdateKeepsTheRest(t *testing.T) {
	old := pod(t, `{metadata: {generation: 4, labels: {a: b}}, status: {phase: Running}}`)
	p := pod(t, `{metadata: {generation: 9, labels: {a: c}}, spec: {hostname: other, ephemeralContainers: [{name: e, image: i}]}, status: {phase: Failed}}`)
	core.PrepareEphemeralContainersUpdate(p, old)
	contains(t, p, `{metadata: {generation: 5, labels: {a: b}}, spec: {hostname: null, ephemeralContainers: [{name: e}]}, status: {phase: Running}}`)
	core.PrepareEphemeralContainersUpdate(p, p.DeepCopy())
	if p.Generation != 5 {
		t.Errorf("Nothing changed, and the generation is %d.", p.Generation)
	}
}

func TestResizeUpdate(t *testing.T) {
	one := func(resources string) string {
		return "{containers: [{name: c, image: i, resources: " + resources + "}]}"
	}
	side := func(restart, resources string) string {
		return "{initContainers: [{name: s, image: i, " + restart + "resources: " + resources + "}]}"
	}
	whole := func(resources string) string {
		return "{resources: " + resources + ", containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}"
	}
	const always = "restartPolicy: Always, "
	for _, u := range []update{
		{"more of all", one(`{requests: {cpu: 1, memory: 1Gi}}`), one(`{requests: {cpu: 2, memory: 2Gi}}`), nil},
		{"less of all", one(`{requests: {cpu: 2}}`), one(`{requests: {cpu: 1}}`), nil},
		{"a limit", one(`{requests: {cpu: 1}}`), one(`{requests: {cpu: 1}, limits: {cpu: 2}}`), nil},
		{"a limit below the request", one(`{requests: {cpu: 1}}`), one(`{requests: {cpu: 3}, limits: {cpu: 2}}`),
			[]string{`spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to cpu limit of 2`}},
		{"no request any more", one(`{requests: {cpu: 1, memory: 1Gi}}`), one(`{requests: {cpu: 1}}`),
			[]string{"spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"}},
		{"no limit any more", one(`{requests: {cpu: 1}, limits: {cpu: 2}}`), one(`{requests: {cpu: 1}}`),
			[]string{"spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"}},
		{"another class", one(`{requests: {cpu: 1}}`), one(`{limits: {cpu: 1, memory: 1Gi}}`),
			[]string{`spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`}},
		{"another resource", one(`{requests: {cpu: 1}}`), one(`{requests: {cpu: 1, ephemeral-storage: 1Gi}}`),
			[]string{"spec: Forbidden: only cpu and memory resources are mutable"}},
		{"another policy", `{containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}`,
			`{containers: [{name: c, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}], resources: {requests: {cpu: 2}}}]}`,
			[]string{"spec: Forbidden: only cpu and memory resources are mutable"}},
		{"other fields stay as they are", `{hostname: a, containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}`,
			`{hostname: b, containers: [{name: c, image: j, resources: {requests: {cpu: 2}}}]}`, nil},
		{"one container more", `{containers: [{name: a, image: i}]}`, `{containers: [{name: a, image: i}, {name: b, image: i}]}`,
			[]string{"spec.containers: Forbidden: containers may not be added or removed on resize"}},
		{"another name", `{containers: [{name: a, image: i}]}`, `{containers: [{name: b, image: i}]}`,
			[]string{"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"}},
		{"one init container more", `{}`, `{initContainers: [{name: i, image: i}]}`,
			[]string{"spec.initContainers: Forbidden: initContainers may not be added or removed on resize"}},
		{"a sidecar", side(always, `{requests: {cpu: 1}}`), side(always, `{requests: {cpu: 2}}`), nil},
		{"a sidecar's other resource", side(always, `{requests: {cpu: 1}}`), side(always, `{requests: {cpu: 1, ephemeral-storage: 1Gi}}`),
			[]string{"spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable"}},
		{"an init container", side("", `{requests: {cpu: 1}}`), side("", `{requests: {cpu: 2}}`), nil},
		{"an init container loses a request", side("", `{requests: {cpu: 1, memory: 1Gi}}`), side("", `{requests: {cpu: 1}}`),
			[]string{"spec.initContainers[0].resources.requests: Forbidden: resource requests cannot be removed"}},
		{"the whole pod", whole(`{requests: {cpu: 2}}`), whole(`{requests: {cpu: 3}}`), nil},
		{"a client that does not know of the whole pod's", whole(`{requests: {cpu: 2}}`), `{containers: [{name: c, image: i, resources: {requests: {cpu: 2}}}]}`, nil},
		{"the whole pod has one less", whole(`{requests: {cpu: 2, memory: 1Gi}}`), whole(`{requests: {cpu: 2}}`),
			[]string{"spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"}},
		{"the whole pod has a limit less", whole(`{requests: {cpu: 2}, limits: {cpu: 3}}`), whole(`{requests: {cpu: 2}}`),
			[]string{"spec.resources.limits: Forbidden: pod-level resource limits cannot be removed"}},
		{"the whole pod has some now", one(`{requests: {cpu: 1}}`), whole(`{requests: {cpu: 2}}`), nil},
		{"on Windows", `{os: {name: windows}}`, `{os: {name: windows}}`, []string{"[]: Forbidden: windows pods cannot be resized"}},
	} {
		t.Run(u.name, func(t *testing.T) {
			p, old := pod(t, "{spec: "+u.is+"}"), pod(t, "{spec: "+u.was+"}")
			p.Status.QOSClass, old.Status.QOSClass = core.QOSClass(old), core.QOSClass(old)
			core.PrepareResizeUpdate(p, old)
			same(t, texts(core.ValidateResizeUpdate(p, old)), u.want)
		})
	}
}

func TestResizeUpdateOfNode(t *testing.T) {
	const spec = `spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}`
	for _, r := range []row{
		{"a static pod", `{metadata: {annotations: {kubernetes.io/config.mirror: x}}}`, []string{"[]: Forbidden: static pods cannot be resized"}},
		{"a node that can", `{` + spec + `, status: {containerStatuses: [{name: c, state: {running: {}}, resources: {}}]}}`, nil},
		{"a node that cannot", `{` + spec + `, status: {containerStatuses: [{name: c, state: {running: {}}}]}}`,
			[]string{"spec: Forbidden: Pod running on node without support for resize"}},
		{"a node that has not begun", `{` + spec + `, status: {containerStatuses: [{name: c, state: {waiting: {}}}]}}`, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			p, old := pod(t, r.yaml), pod(t, r.yaml)
			core.PrepareResizeUpdate(p, old)
			same(t, texts(core.ValidateResizeUpdate(p, old)), r.want)
		})
	}
}

func TestImageReferenceLength(t *testing.T) {
	p, old := pod(t, `{}`), pod(t, `{}`)
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", VolumeMounts: []corev1.VolumeMountStatus{{
		VolumeStatus: &corev1.VolumeStatus{Image: &corev1.ImageVolumeStatus{ImageRef: strings.Repeat("x", 257)}},
	}}}}
	same(t, texts(core.ValidatePodStatusUpdate(p, old)), []string{
		"status.containerStatuses[0].volumeMounts[0].volumeStatus.imageVolumeStatus.imageRef: Too long: may not be more than 256 bytes"})
}

func TestResizeCountsGenerations(t *testing.T) {
	old := pod(t, `{metadata: {generation: 4}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}}`)
	p := old.DeepCopy()
	core.PrepareResizeUpdate(p, old)
	if p.Generation != 4 {
		t.Errorf("Nothing changed, and the generation is %d.", p.Generation)
	}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	p.ObjectMeta.Labels, p.CreationTimestamp = map[string]string{"a": "b"}, metav1.Time{}
	core.PrepareResizeUpdate(p, old)
	if p.Generation != 5 || p.Labels != nil {
		t.Errorf("Metadata is %v.", p.ObjectMeta)
	}
}
