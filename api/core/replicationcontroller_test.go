package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api/core"
)

var (
	controllerKind = core.ReplicationController.Erase()
	templateKind   = core.PodTemplate.Erase()
)

func controller(t *testing.T, text string) *corev1.ReplicationController {
	t.Helper()
	rc := decode(t, text, &corev1.ReplicationController{})
	core.ReplicationController.Default(rc)
	return rc
}

const (
	webTemplate = `template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: "i:1"}, {name: d, image: "j:1"}]}}`
	webSpec     = `{metadata: {name: web}, spec: {` + webTemplate + `}}`
)

func TestReplicationController(t *testing.T) {
	for _, r := range []row{
		{"a template", `{spec: {` + webTemplate + `}}`, nil},
		{"nothing", `{}`, []string{"spec.selector: Required value", "spec.template: Required value"}},
		{"a template without labels", `{spec: {template: {spec: {containers: [{name: c, image: i}]}}}}`, []string{"spec.selector: Required value"}},
		{"another selector", `{spec: {selector: {app: db}, ` + webTemplate + `}}`,
			[]string{"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"}},
		{"fewer than none", `{spec: {replicas: -1, minReadySeconds: -1, ` + webTemplate + `}}`, []string{
			"spec.replicas: Invalid value: -1: must be greater than or equal to 0",
			"spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"}},
		{"a pod that ends", `{spec: {template: {metadata: {labels: {app: web}}, spec: {restartPolicy: Never, activeDeadlineSeconds: 5, containers: [{name: c, image: i}]}}}}`, []string{
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`,
			"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"}},
		{"a wrong pod", `{spec: {template: {metadata: {labels: {app: web}}, spec: {containers: []}}}}`, []string{"spec.template.spec.containers: Required value"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(controllerKind.Validate(t.Context(), controller(t, r.yaml))), r.want)
		})
	}
}

func TestReplicationControllerDefaults(t *testing.T) {
	for _, c := range []change{
		{"one of the template's", webSpec, `{metadata: {labels: {app: web}}, spec: {replicas: 1, selector: {app: web}, template: {spec: {restartPolicy: Always}}}}`},
		{"what is said stays", `{metadata: {labels: {a: b}}, spec: {replicas: 0, selector: {c: d}, ` + webTemplate + `}}`,
			`{metadata: {labels: {a: b, app: null}}, spec: {replicas: 0, selector: {c: d, app: null}}}`},
		{"no template", `{}`, `{spec: {replicas: 1, selector: null}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			contains(t, controller(t, c.is), c.becomes)
		})
	}
	rc := controller(t, webSpec)
	rc.Labels["other"] = "x"
	if len(rc.Spec.Selector) != 1 || len(rc.Spec.Template.Labels) != 1 {
		t.Error("Labels and selector are the same map.")
	}
}

func TestReplicationControllerStatus(t *testing.T) {
	for _, r := range []row{
		{"nothing", `{}`, nil},
		{"all", `{status: {replicas: 3, fullyLabeledReplicas: 3, readyReplicas: 2, availableReplicas: 1, observedGeneration: 1}}`, nil},
		{"fewer than none", `{status: {replicas: -1, observedGeneration: -1}}`, []string{
			"status.replicas: Invalid value: -1: must be greater than or equal to 0",
			"status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
			"status.fullyLabeledReplicas: Invalid value: 0: cannot be greater than status.replicas",
			"status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas",
			"status.availableReplicas: Invalid value: 0: cannot be greater than status.replicas"}},
		{"more than ready", `{status: {replicas: 3, readyReplicas: 1, availableReplicas: 2}}`,
			[]string{"status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(controllerKind.Status.Validate(controller(t, r.yaml), controller(t, `{}`))), r.want)
		})
	}
}

func TestReplicationControllerScale(t *testing.T) {
	rc := controller(t, webSpec)
	rc.Status.Replicas = 2
	controllerKind.Scale.Set(rc, 5)
	spec, status := controllerKind.Scale.Get(rc)
	if spec.Replicas != 5 || status.Replicas != 2 || status.Selector != "app=web" {
		t.Errorf("The scale is %v, %v.", spec, status)
	}
}

func TestReplicationControllerColumns(t *testing.T) {
	all := []string{"Name", "Desired", "Current", "Ready", "Containers", "Images", "Selector"}
	rc := controller(t, webSpec)
	rc.Status.Replicas, rc.Status.ReadyReplicas = 2, 1
	same(t, cells(t, controllerKind, rc, all...), []string{"web", "1", "2", "1", "c,d", "i:1,j:1", "app=web"})
	same(t, cells(t, controllerKind, &corev1.ReplicationController{}, all...), []string{"", "1", "0", "0", "", "", "<none>"})
	if got := controllerKind.Fields(rc).String(); got != "status.replicas=2" {
		t.Errorf("Fields are %s.", got)
	}
}

func TestReplicationControllerWarnings(t *testing.T) {
	const text = `{metadata: {name: a.b}, spec: {template: {metadata: {labels: {app: web}}, spec: {nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: c, image: i}]}}}}`
	const label = `template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`
	rc, old := controller(t, text), controller(t, text)
	same(t, controllerKind.Warnings(t.Context(), rc, nil), []string{
		"metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]", label})
	same(t, controllerKind.Warnings(t.Context(), rc, old), nil)
	rc.Generation++
	same(t, controllerKind.Warnings(t.Context(), rc, old), []string{label})
}

func TestPodTemplate(t *testing.T) {
	template := func(text string) *corev1.PodTemplate {
		p := decode(t, text, &corev1.PodTemplate{})
		core.PodTemplate.Default(p)
		templateKind.PrepareCreate(t.Context(), p)
		return p
	}
	p := template(webSpecOfTemplate)
	same(t, texts(templateKind.Validate(t.Context(), p)), nil)
	same(t, cells(t, templateKind, p, "Name", "Containers", "Images", "Pod Labels"), []string{"web", "c,d", "i:1,j:1", "app=web"})
	same(t, texts(templateKind.Validate(t.Context(), template(`{}`))), []string{"template.spec.containers: Required value"})

	old := p.DeepCopy()
	p.Template.Spec.NodeSelector = map[string]string{"beta.kubernetes.io/os": "linux"}
	same(t, templateKind.Warnings(t.Context(), p, old), nil)
	p.Generation++
	templateKind.PrepareUpdate(t.Context(), p, old)
	same(t, templateKind.Warnings(t.Context(), p, old), []string{
		`template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`})
}

const webSpecOfTemplate = `{metadata: {name: web}, ` + webTemplate + `}`
