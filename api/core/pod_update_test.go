package core_test

import (
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/api/core"
)

const onlyThese = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"

// update is a case of a table: what was there, what is, and what is said to it.
type update struct {
	name, was, is string
	want          []string
}

func TestPodUpdate(t *testing.T) {
	const affinity = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
	gated := func(rest string) string { return "{schedulingGates: [{name: g}], " + rest + "}" }
	terms := func(list string) string {
		return gated("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + list + "]}}}")
	}
	for _, u := range []update{
		{"nothing changes", `{}`, `{}`, nil},
		{"an image", `{containers: [{name: c, image: "a:1"}]}`, `{containers: [{name: c, image: "a:2"}]}`, nil},
		{"an image with another policy", `{containers: [{name: c, image: "a:1"}]}`, `{containers: [{name: c, image: "a"}]}`, []string{onlyThese + "…"}},
		{"an init container's image", `{initContainers: [{name: i, image: "a:1"}]}`, `{initContainers: [{name: i, image: "a:2"}]}`, nil},
		{"no image", `{containers: [{name: c, image: "a:1"}]}`, `{containers: [{name: c}]}`, []string{"spec.containers[0].image: Required value"}},
		{"an image with a space", `{containers: [{name: c, image: "a:1"}]}`, `{containers: [{name: c, image: "a:2 "}]}`,
			[]string{`spec.containers[0].image: Invalid value: "a:2 ": must not have leading or trailing whitespace`}},
		{"one container more", `{containers: [{name: a, image: i}]}`, `{containers: [{name: a, image: i}, {name: b, image: i}]}`,
			[]string{"spec.containers: Forbidden: pod updates may not add or remove containers"}},
		{"one init container less", `{initContainers: [{name: a, image: i}]}`, `{}`,
			[]string{"spec.initContainers: Forbidden: pod updates may not add or remove containers"}},
		{"another name", `{containers: [{name: a, image: i}]}`, `{containers: [{name: b, image: i}]}`, []string{onlyThese + "…"}},
		{"another node", `{nodeName: a}`, `{nodeName: b}`, []string{onlyThese + "…"}},
		{"another account", `{serviceAccountName: a}`, `{serviceAccountName: b}`, []string{onlyThese + "…"}},
		{"other resources", `{containers: [{name: c, image: i, resources: {limits: {cpu: 1}}}]}`, `{containers: [{name: c, image: i, resources: {limits: {cpu: 2}}}]}`, []string{onlyThese + "…"}},
		{"a variable", `{containers: [{name: c, image: i}]}`, `{containers: [{name: c, image: i, env: [{name: A}]}]}`, []string{onlyThese + "…"}},
		{"a container for debugging", `{}`, `{ephemeralContainers: [{name: e, image: i}]}`, []string{onlyThese + "…"}},

		{"a deadline", `{}`, `{activeDeadlineSeconds: 5}`, nil},
		{"a nearer deadline", `{activeDeadlineSeconds: 5}`, `{activeDeadlineSeconds: 4}`, nil},
		{"a later deadline", `{activeDeadlineSeconds: 5}`, `{activeDeadlineSeconds: 6}`,
			[]string{"spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"}},
		{"no deadline any more", `{activeDeadlineSeconds: 5}`, `{}`,
			[]string{"spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"}},
		{"a deadline before the beginning", `{}`, `{activeDeadlineSeconds: -1}`,
			[]string{"spec.activeDeadlineSeconds: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
		{"a deadline after all", `{}`, `{activeDeadlineSeconds: 2147483648}`,
			[]string{"spec.activeDeadlineSeconds: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive"}},

		{"a toleration", `{}`, `{tolerations: [{key: a, operator: Exists}]}`, nil},
		{"a toleration more", `{tolerations: [{key: a, operator: Exists}]}`, `{tolerations: [{key: b, operator: Exists}, {key: a, operator: Exists}]}`, nil},
		{"a toleration less", `{tolerations: [{key: a, operator: Exists}]}`, `{}`,
			[]string{"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"}},
		{"another toleration", `{tolerations: [{key: a, operator: Exists}]}`, `{tolerations: [{key: b, operator: Exists}]}`,
			[]string{"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"}},
		{"a longer toleration", `{tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 1}]}`,
			`{tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 2}]}`, nil},
		{"a wrong toleration", `{}`, `{tolerations: [{operator: Equal}]}`,
			[]string{`spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when ` + "`key` is empty, which means \"match all values and all keys\""}},

		{"a grace of one", `{terminationGracePeriodSeconds: -1}`, `{terminationGracePeriodSeconds: 1}`, nil},
		{"a grace of two", `{terminationGracePeriodSeconds: -1}`, `{terminationGracePeriodSeconds: 2}`, []string{onlyThese + "…"}},
		{"a shorter grace", `{terminationGracePeriodSeconds: 2}`, `{terminationGracePeriodSeconds: 1}`, []string{onlyThese + "…"}},

		{"a gate less", `{schedulingGates: [{name: a}, {name: b}]}`, `{schedulingGates: [{name: b}]}`, nil},
		{"all gates gone", `{schedulingGates: [{name: a}]}`, `{}`, nil},
		{"a gate more", `{}`, `{schedulingGates: [{name: a}]}`,
			[]string{"spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'"}},
		{"a selector behind a gate", gated("nodeSelector: {a: b}"), gated("nodeSelector: {a: b, c: d}"), nil},
		{"a first selector behind a gate", gated(""), gated("nodeSelector: {c: d}"), nil},
		{"another selector behind a gate", gated("nodeSelector: {a: b}"), gated("nodeSelector: {a: c}"),
			[]string{`spec.nodeSelector: Invalid value: {"a":"c"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)`}},
		{"no selector behind a gate", gated("nodeSelector: {a: b}"), gated(""),
			[]string{`spec.nodeSelector: Invalid value: null: only additions to spec.nodeSelector are allowed (no mutations or deletions)`}},
		{"a selector without a gate", `{}`, `{nodeSelector: {a: b}}`, []string{onlyThese + "…"}},
		{"a selector and the end of the gate", gated(""), `{nodeSelector: {a: b}}`, nil},
		{"a first affinity behind a gate", gated(""), terms(`{matchExpressions: [{key: a, operator: Exists}]}`), nil},
		{"a first affinity beside another behind a gate", gated("affinity: {podAffinity: {}}"),
			gated("affinity: {podAffinity: {}, nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}"), nil},
		{"a narrower affinity behind a gate", terms(`{matchExpressions: [{key: a, operator: Exists}]}`),
			terms(`{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: Exists}], matchFields: [{key: metadata.name, operator: In, values: [m]}]}`), nil},
		{"another affinity behind a gate", terms(`{matchExpressions: [{key: a, operator: Exists}]}`), terms(`{matchExpressions: [{key: b, operator: Exists}]}`),
			[]string{affinity + `[0]: Invalid value: {"matchExpressions":[{"key":"b","operator":"Exists"}]}: only additions are allowed (no mutations or deletions)`}},
		{"a wider affinity behind a gate", terms(`{matchExpressions: [{key: a, operator: Exists}]}`),
			terms(`{matchExpressions: [{key: a, operator: Exists}]}, {matchExpressions: [{key: b, operator: Exists}]}`),
			[]string{affinity + `: Invalid value: [{"matchExpressions":[{"key":"a","operator":"Exists"}]},{"matchExpressions":[{"key":"b","operator":"Exists"}]}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed`}},
		{"no affinity behind a gate", terms(`{matchExpressions: [{key: a, operator: Exists}]}`), gated(""),
			[]string{affinity + `: Invalid value: null: no additions/deletions to non-empty NodeSelectorTerms list are allowed`}},
		{"something of an empty term behind a gate", terms(`{}`), terms(`{matchExpressions: [{key: b, operator: Exists}]}`),
			[]string{affinity + `[0]: Invalid value: {"matchExpressions":[{"key":"b","operator":"Exists"}]}: only additions are allowed (no mutations or deletions)`}},
		{"an affinity to pods behind a gate", gated(""), gated("affinity: {podAffinity: {}}"), []string{onlyThese + "…"}},
		{"another affinity to pods behind a gate", gated("affinity: {podAffinity: {}}"),
			gated("affinity: {podAntiAffinity: {}, nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}"), []string{onlyThese + "…"}},
		{"another node behind a gate", gated(""), gated("hostNetwork: true"), []string{onlyThese + "…"}},
	} {
		t.Run(u.name, func(t *testing.T) {
			same(t, texts(core.ValidatePodUpdate(pod(t, "{spec: "+u.is+"}"), pod(t, "{spec: "+u.was+"}"))), u.want)
		})
	}
}

// The message ends with what changed.
func TestPodUpdateDiff(t *testing.T) {
	errs := core.ValidatePodUpdate(pod(t, `{spec: {hostname: after}}`), pod(t, `{spec: {hostname: before}}`))
	if len(errs) != 1 || !strings.Contains(errs[0].Detail, "before") || !strings.Contains(errs[0].Detail, "after") {
		t.Errorf("Errors are %v.", errs)
	}
}

func TestPodUpdateLeavesObjects(t *testing.T) {
	is, was := `{spec: {schedulingGates: [{name: g}], nodeSelector: {a: b}, affinity: {nodeAffinity: {}}, containers: [{name: c, image: "a:2"}], hostname: h}}`,
		`{spec: {schedulingGates: [{name: g}], containers: [{name: c, image: "a:1"}]}}`
	p, old := pod(t, is), pod(t, was)
	core.ValidatePodUpdate(p, old)
	if !equal(p, pod(t, is)) || !equal(old, pod(t, was)) {
		t.Error("Validation changed an object.")
	}
}

func TestAnnotationUpdate(t *testing.T) {
	const (
		mirror   = "kubernetes.io/config.mirror"
		appArmor = "container.apparmor.security.beta.kubernetes.io/c"
		p        = "metadata.annotations"
	)
	for _, u := range []update{
		{"others may change", `{a: b}`, `{c: d}`, nil},
		{"the same", `{` + mirror + `: a, ` + appArmor + `: unconfined}`, `{` + mirror + `: a, ` + appArmor + `: unconfined}`, nil},
		{"no mirror any more", `{` + mirror + `: a}`, `{}`, []string{p + "[" + mirror + "]: Forbidden: may not remove or update mirror pod annotation"}},
		{"another mirror", `{` + mirror + `: a}`, `{` + mirror + `: b}`, []string{p + "[" + mirror + "]: Forbidden: may not remove or update mirror pod annotation"}},
		{"a mirror", `{}`, `{` + mirror + `: b}`, []string{p + "[" + mirror + "]: Forbidden: may not add mirror pod annotation"}},
		{"no profile any more", `{` + appArmor + `: unconfined}`, `{}`, []string{p + "[" + appArmor + "]: Forbidden: may not remove or update AppArmor annotations"}},
		{"a profile", `{}`, `{` + appArmor + `: unconfined}`, []string{p + "[" + appArmor + "]: Forbidden: may not add AppArmor annotations"}},
	} {
		t.Run(u.name, func(t *testing.T) {
			is, was := pod(t, "{metadata: {annotations: "+u.is+"}}"), pod(t, "{metadata: {annotations: "+u.was+"}}")
			same(t, texts(core.ValidatePodUpdate(is, was)), u.want)
			same(t, texts(core.ValidatePodStatusUpdate(is, was)), u.want)
		})
	}
}
