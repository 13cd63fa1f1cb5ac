package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: shop}}
data: {color: red, size: "1"}
`

// TestObjects is what people do with manifests.
func TestObjects(t *testing.T) {
	c := running(t)
	t.Run("apply creates, leaves alone, and changes", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		want(t, k.apply(t, settings), "configmap/settings created\n")
		want(t, k.apply(t, settings), "configmap/settings unchanged\n")
		want(t, k.apply(t, strings.Replace(settings, "color: red, ", "", 1)), "configmap/settings configured\n")
		want(t, k.run(t, "get", "configmap/settings", "-o", "jsonpath={.data}"), `{"size":"1"}`)
	})
	t.Run("apply --server-side keeps fields with their owners", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		file := write(t, settings)
		want(t, k.run(t, "apply", "--server-side", "-f", file), "configmap/settings serverside-applied\n")
		other := write(t, strings.Replace(settings, "red", "blue", 1))
		conflict := k.fails(t, "apply", "--server-side", "--field-manager=other", "-f", other)
		contains(t, "apply", conflict, `Apply failed with 1 conflict: conflict with "kubectl": .data.color`)
		k.run(t, "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", other)
		want(t, k.run(t, "get", "configmap/settings", "-o", "jsonpath={.data.color}"), "blue")
		contains(t, "managed fields", k.run(t, "get", "configmap/settings", "-o", "yaml", "--show-managed-fields"), "manager: other", "f:color", "operation: Apply")
	})
	t.Run("diff shows what apply would do", func(t *testing.T) {
		t.Parallel()
		if _, err := exec.LookPath("diff"); err != nil {
			t.Skip("needs diff")
		}
		k := newNamespace(t, c)
		k.apply(t, settings)
		want(t, k.run(t, "diff", "-f", write(t, settings)), "")
		contains(t, "diff", k.fails(t, "diff", "-f", write(t, strings.Replace(settings, "red", "blue", 1))), "-  color: red", "+  color: blue")
		want(t, k.run(t, "get", "configmap/settings", "-o", "jsonpath={.data.color}"), "red")
	})
	t.Run("edit saves what the editor wrote", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		k.apply(t, settings)
		editor := filepath.Join(t.TempDir(), "editor")
		if err := os.WriteFile(editor, []byte("#!/bin/sh\nexec sed -i 's/color: red/color: green/' \"$1\"\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		edit := func(c *exec.Cmd) { c.Env = append(c.Env, "KUBE_EDITOR="+editor) }
		want(t, k.runWith(t, edit, "edit", "configmap/settings"), "configmap/settings edited\n")
		want(t, k.run(t, "get", "configmap/settings", "-o", "jsonpath={.data.color}"), "green")
		nothing := func(c *exec.Cmd) { c.Env = append(c.Env, "KUBE_EDITOR=true") }
		want(t, k.runWith(t, nothing, "edit", "configmap/settings"), "")
	})
	t.Run("patch takes all three kinds", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=0")
		want(t, k.run(t, "patch", "deployment/web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"hello","env":[{"name":"A","value":"1"}]}]}}}}`), "deployment.apps/web patched\n")
		k.run(t, "patch", "deployment/web", "--type=merge", "-p", `{"spec":{"minReadySeconds":3}}`)
		k.run(t, "patch", "deployment/web", "--type=json", "-p", `[{"op":"test","path":"/spec/minReadySeconds","value":3},{"op":"replace","path":"/spec/minReadySeconds","value":4}]`)
		want(t, k.run(t, "get", "deployment/web", "-o", "jsonpath={.spec.minReadySeconds} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[0].name}"), "4 "+helloV1+" A")
		want(t, k.run(t, "patch", "deployment/web", "-p", `{"spec":{"minReadySeconds":4}}`), "deployment.apps/web patched (no change)\n")
	})
	t.Run("label and annotate", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		k.apply(t, settings)
		want(t, k.run(t, "label", "configmap/settings", "tier=back"), "configmap/settings labeled\n")
		contains(t, "label", k.fails(t, "label", "configmap/settings", "tier=front"), "'tier' already has a value (back), and --overwrite is false")
		want(t, k.run(t, "get", "configmap", "-l", "tier=back,app in (shop)", "-o", "name"), "configmap/settings\n")
		want(t, k.run(t, "label", "configmap/settings", "tier-"), "configmap/settings unlabeled\n")
		want(t, k.run(t, "annotate", "configmap/settings", "note=a b"), "configmap/settings annotated\n")
		want(t, k.run(t, "get", "configmap/settings", "-o", "jsonpath={.metadata.annotations.note}"), "a b")
	})
	t.Run("wait waits, and gives up in time", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		k.run(t, "run", "one", "--image="+helloV1)
		want(t, k.run(t, "wait", "pod/one", "--for=condition=Ready", "--timeout=90s"), "pod/one condition met\n")
		contains(t, "wait", k.fails(t, "wait", "pod/one", "--for=jsonpath={.status.phase}=Failed", "--timeout=100ms"), "timed out waiting for the condition on pods/one")
		k.run(t, "delete", "pod", "one", "--wait=false")
		k.run(t, "wait", "pod/one", "--for=delete", "--timeout=90s")
	})
	t.Run("events tell the story of a pod", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		k.run(t, "run", "one", "--image="+helloV1)
		k.run(t, "wait", "pod/one", "--for=condition=Ready", "--timeout=90s")
		matches(t, k.run(t, "events", "--for", "pod/one"), `LAST SEEN +TYPE +REASON +OBJECT +MESSAGE`,
			`Normal +Scheduled +Pod/one +Successfully assigned `+k.namespace+`/one to default-0`, `Normal +Pulled +Pod/one`, `Normal +Created +Pod/one`, `Normal +Started +Pod/one`)
		matches(t, k.run(t, "get", "events", "--field-selector", "involvedObject.name=one,reason=Started"), `Started +pod/one`)
	})
	t.Run("explain, api-resources and api-versions", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		matches(t, k.run(t, "explain", "deployment.spec.strategy.rollingUpdate.maxSurge"), `KIND: +Deployment`, `FIELD: maxSurge`, `pods that can be`)
		matches(t, k.run(t, "explain", "pod", "--recursive"), `activeDeadlineSeconds\s+<integer>`)
		matches(t, k.run(t, "api-resources"), `deployments +deploy +apps/v1 +true +Deployment`, `nodes +no +v1 +false +Node`, `cronjobs +cj +batch/v1 +true +CronJob`)
		matches(t, k.run(t, "api-versions"), `(?m)^apps/v1$`, `(?m)^v1$`, `(?m)^rbac.authorization.k8s.io/v1$`)
		matches(t, k.run(t, "version"), `Client Version: v1\.`, `Server Version: v1\.`)
		contains(t, "names", k.run(t, "get", "namespaces", "-o", "name", "--match-server-version"), "namespace/default")
	})
	t.Run("auth can-i, for oneself and as another", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		want(t, k.run(t, "auth", "can-i", "create", "pods"), "yes\n")
		account := "--as=system:serviceaccount:" + k.namespace + ":default"
		contains(t, "can-i", k.fails(t, "auth", "can-i", "get", "secrets", account), "no")
		k.run(t, "create", "role", "reader", "--verb=get", "--resource=secrets")
		k.run(t, "create", "rolebinding", "reader", "--role=reader", "--serviceaccount="+k.namespace+":default")
		eventually(t, "the binding counts", func() (bool, string) {
			out, err := k.try("auth", "can-i", "get", "secrets", account)
			return err == nil && out == "yes\n", out
		})
		contains(t, "get", k.fails(t, "get", "pods", account),
			fmt.Sprintf(`pods is forbidden: User "system:serviceaccount:%s:default" cannot list resource "pods" in API group "" in the namespace "%s"`, k.namespace, k.namespace))
		matches(t, k.run(t, "auth", "whoami"), `Username +kubernetes-admin`)
	})
	t.Run("config view shows the cluster and hides its keys", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		contains(t, "config view", k.run(t, "config", "view"), "server: https://127.0.0.1:6443", "current-context: skiff-default", "certificate-authority-data: DATA+OMITTED")
		info, err := os.Stat(c.kubeconfig())
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("kubeconfig: got %v, %v; want mode 0600", info.Mode(), err)
		}
		contains(t, "cluster-info", k.run(t, "cluster-info"), "Kubernetes control plane", "https://127.0.0.1:6443")
	})
	t.Run("delete -f removes what apply made", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		k.apply(t, settings)
		want(t, k.run(t, "delete", "-f", write(t, settings)), fmt.Sprintf("configmap \"settings\" deleted from %s namespace\n", k.namespace))
		contains(t, "get", k.fails(t, "get", "configmap/settings"), `Error from server (NotFound): configmaps "settings" not found`)
	})
	t.Run("the samples install and come up", func(t *testing.T) {
		t.Parallel()
		k := newNamespace(t, c)
		samples, err := filepath.Abs("../../config/samples")
		if err != nil {
			t.Fatal(err)
		}
		k.run(t, "apply", "-k", samples)
		for _, d := range []string{"front", "back"} {
			k.run(t, "rollout", "status", "deployment/"+d, "--timeout=90s")
		}
		front := fmt.Sprintf("http://%s:30080/ask", nodeIP)
		eventually(t, "the front end passes on what the back end says", func() (bool, string) {
			err := ask(front, "front-")
			return err == nil, fmt.Sprint(err)
		})
		k.run(t, "delete", "-k", samples)
	})
	t.Run("mistakes get one clear message", func(t *testing.T) { mistakes(t, newNamespace(t, c)) })
}

func mistakes(t *testing.T, k *kubectl) {
	for _, m := range []struct{ name, manifest, says string }{
		{
			"a manifest that is no YAML", "a: b: c",
			"error converting YAML to JSON: yaml: mapping values are not allowed in this context",
		},
		{
			"a kind that does not exist", "apiVersion: v1\nkind: Pot\nmetadata: {name: a}",
			`no matches for kind "Pot" in version "v1"`,
		},
		{
			"a field that does not exist", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, imagee: c}]}",
			`Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].imagee"`,
		},
		{
			"a value of another type", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}",
			"cannot unmarshal number into Go struct field ConfigMap.data of type string",
		},
		{
			"a name that is none", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_b}",
			`The ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of`,
		},
		{
			"a pod without containers", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}",
			`The Pod "a" is invalid: spec.containers: Required value`,
		},
		{
			"a selector that is not the template's", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: b}]}}}",
			"spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
		},
	} {
		t.Run(m.name, func(t *testing.T) {
			contains(t, "apply", k.fails(t, "apply", "-f", write(t, m.manifest)), m.says)
		})
	}
	t.Run("a resource that does not exist", func(t *testing.T) {
		contains(t, "get", k.fails(t, "get", "pots"), `the server doesn't have a resource type "pots"`)
	})
}

// TestDrain empties the node. It runs alone, since pods of other tests would
// be evicted as well.
func TestDrain(t *testing.T) {
	k := newNamespace(t, running(t))
	k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=2")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	out := k.run(t, "drain", "default-0", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=web", "--timeout=90s")
	contains(t, "drain", out, "node/default-0 cordoned", "evicted", "node/default-0 drained")
	matches(t, k.run(t, "get", "nodes"), `default-0 +Ready,SchedulingDisabled`)
	eventually(t, "the new pods have no node", func() (bool, string) {
		out, err := k.try("get", "events", "--field-selector=reason=FailedScheduling")
		return err == nil && strings.Contains(out, "0/1 nodes are available: 1 node(s) were unschedulable."), out
	})
	want(t, k.run(t, "uncordon", "default-0"), "node/default-0 uncordoned\n")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
}

// write puts a manifest into a file.
func write(t testing.TB, manifest string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
