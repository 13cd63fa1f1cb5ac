package webhooks_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/conversion"
	"sigs.k8s.io/yaml"

	"github.com/skiffcluster/skiff/cluster/manifests"
	"github.com/skiffcluster/skiff/cluster/webhooks"
)

const configuration = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: mine}
webhooks:
- name: a.example.com
  clientConfig: {service: {name: webhook, namespace: system, path: /validate}}
- name: b.example.com
  clientConfig: {url: "https://example.com/elsewhere", caBundle: b3RoZXI=}
`

const converting = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing}
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {name: webhook, namespace: system}}
`

const plain = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing}
`

var target = webhooks.Target{Host: "127.0.0.1", Port: 9443, CA: []byte("authority")}

func TestPoint(t *testing.T) {
	for _, c := range []struct {
		name, in string
		changed  []string
		want     []string
	}{
		{"a service becomes an URL, and an URL stays", configuration, []string{"ValidatingWebhookConfiguration mine"}, []string{
			"caBundle: YXV0aG9yaXR5\n    url: https://127.0.0.1:9443/validate", "caBundle: b3RoZXI=\n    url: https://example.com/elsewhere",
		}},
		{"a definition that converts by a service without a path", converting, []string{"CustomResourceDefinition things.example.com"}, []string{"url: https://127.0.0.1:9443/\n"}},
		{"a definition that does not convert", plain, nil, []string{"kind: Thing"}},
		{"something else", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			objs, err := manifests.Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			changed, err := webhooks.Point(objs, target)
			if err != nil || fmt.Sprint(changed) != fmt.Sprint(c.changed) {
				t.Errorf("changed: got %v, %v, want %v", changed, err, c.changed)
			}
			raw, err := yaml.Marshal(objs[0].Object)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(raw), want) {
					t.Errorf("got\n%swant %q in it", raw, want)
				}
			}
		})
	}
}

// TestKubectlApplyGivesBackAWebhook does what `kubectl apply` does with what the
// manifests say, after Point and after Trust.
func TestKubectlApplyGivesBackAWebhook(t *testing.T) {
	for _, c := range []struct {
		name, manifest string
		change         func([]*unstructured.Unstructured) ([]string, error)
		want           string // in the patch
		url            bool   // there was one, and it goes
	}{
		{"a configuration that was pointed", configuration, point, `"service":{"name":"webhook"`, true},
		{"a definition that was pointed", converting, point, `"service":{"name":"webhook"`, true},
		{"a caBundle that was given is kept", configuration, trust, "{}", false},
		{"a definition's too", converting, trust, "{}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			given, live := parsed(t, c.manifest)[0], parsed(t, c.manifest)[0]
			live.SetAnnotations(map[string]string{"cert-manager.io/inject-ca-from": "a/b", "kept": "yes"})
			if changed, err := c.change([]*unstructured.Unstructured{live}); err != nil || len(changed) != 1 {
				t.Fatalf("changed: %v %v", changed, err)
			}
			if a := live.GetAnnotations(); a["kept"] != "yes" || a["cert-manager.io/inject-ca-from"] != "" {
				t.Errorf("annotations: %v", a)
			}
			got := patch(t, live, given)
			if !strings.Contains(got, c.want) || c.url != strings.Contains(got, `"caBundle":null`) || c.url != strings.Contains(got, `"url":null`) {
				t.Errorf("got %s, want %s in it; url and caBundle go: %v", got, c.want, c.url)
			}
		})
	}
}

func point(objs []*unstructured.Unstructured) ([]string, error) { return webhooks.Point(objs, target) }
func trust(objs []*unstructured.Unstructured) ([]string, error) {
	return webhooks.Trust(objs, target.CA)
}

func parsed(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	objs, err := manifests.Parse([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return objs
}

// patch is what kubectl makes of live with when given is applied: a strategic
// merge patch where it knows the type, else a merge patch.
func patch(t *testing.T, live, given *unstructured.Unstructured) string {
	t.Helper()
	last := []byte(live.GetAnnotations()[corev1.LastAppliedConfigAnnotation])
	live = live.DeepCopy()
	live.SetAnnotations(nil)
	modified, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	current, err := json.Marshal(live)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	if given.GetKind() == "CustomResourceDefinition" {
		out, err = jsonmergepatch.CreateThreeWayJSONMergePatch(last, modified, current)
	} else {
		var schema strategicpatch.LookupPatchMeta
		if schema, err = strategicpatch.NewPatchMetaFromStruct(&admissionregistrationv1.ValidatingWebhookConfiguration{}); err != nil {
			t.Fatal(err)
		}
		out, err = strategicpatch.CreateThreeWayMergePatch(last, modified, current, schema, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestWithoutIssuing(t *testing.T) {
	const issuer = "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\n---\n"
	const own = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: issuers.cert-manager.io}\nspec: {group: cert-manager.io}\n---\n"
	for _, c := range []struct {
		name, in   string
		kept, left int
	}{
		{"what asks for certificates is left out", issuer + plain, 1, 1},
		{"but not beside its definition", issuer + own + plain, 3, 0},
		{"what does not, stays", plain, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if kept, left := webhooks.WithoutIssuing(parsed(t, c.in)); len(kept) != c.kept || left != c.left {
				t.Errorf("got %d and %d left out, want %d and %d", len(kept), left, c.kept, c.left)
			}
		})
	}
}

func TestServicesAndTrust(t *testing.T) {
	objs, err := manifests.Parse([]byte(configuration + "---" + converting))
	if err != nil {
		t.Fatal(err)
	}
	hosts, asking, err := webhooks.Services(objs)
	if err != nil || fmt.Sprint(hosts) != "[webhook.system.svc]" || len(asking) != 2 {
		t.Fatalf("services: got %v of %v, %v", hosts, asking, err)
	}
	first, err := webhooks.Certificate{}.For(hosts)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := first.For(hosts); err != nil || string(again.Cert) != string(first.Cert) {
		t.Errorf("a certificate that serves is made again: %v", err)
	}
	if other, err := first.For([]string{"other.system.svc"}); err != nil || string(other.Cert) == string(first.Cert) {
		t.Errorf("a certificate of other names is kept: %v", err)
	}
	changed, err := webhooks.Trust(objs, first.CA)
	if err != nil || len(changed) != 2 {
		t.Errorf("trust: got %v, %v, want both", changed, err)
	}
	raw, _ := yaml.Marshal(objs[0].Object["webhooks"])
	if !strings.Contains(string(raw), "path: /validate") || strings.Count(string(raw), "b3RoZXI=") != 1 {
		t.Errorf("got\n%s", raw)
	}
}

// thing and old are two versions of a kind; old converts.
type thing struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
}

func (t *thing) DeepCopyObject() runtime.Object { c := *t; return &c }
func (*thing) Hub()                             {}

type old struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
}

func (o *old) DeepCopyObject() runtime.Object { c := *o; return &c }
func (*old) ConvertTo(conversion.Hub) error   { return nil }
func (*old) ConvertFrom(conversion.Hub) error { return nil }

func TestConvert(t *testing.T) {
	kind := schema.GroupKind{Group: "example.com", Kind: "Thing"}
	for _, c := range []struct {
		name     string
		versions map[string]runtime.Object
		want     string
	}{
		{"two versions that convert do so at the target", map[string]runtime.Object{"v1": &thing{}, "v1alpha1": &old{}}, "https://127.0.0.1:9443/convert"},
		{"one version has nothing to convert", map[string]runtime.Object{"v1": &thing{}}, ""},
		{"a kind that the scheme does not know", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			for version, obj := range c.versions {
				scheme.AddKnownTypeWithName(kind.WithVersion(version), obj)
			}
			objs, err := manifests.Parse([]byte(plain))
			if err != nil {
				t.Fatal(err)
			}
			if err := webhooks.Convert(objs, scheme, target); err != nil {
				t.Fatal(err)
			}
			raw, _ := yaml.Marshal(objs[0].Object)
			if c.want == "" && strings.Contains(string(raw), "conversion") || !strings.Contains(string(raw), c.want) {
				t.Errorf("got\n%swant %q in it", raw, c.want)
			}
		})
	}
}

func TestAReservedPortIsForTheOneWhoReservedIt(t *testing.T) {
	r, err := webhooks.Reserve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	seen := map[int]bool{}
	for range 200 { // far from all ports, but Linux gives the same one again soon
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		seen[l.Addr().(*net.TCPAddr).Port] = true
		_ = l.Close()
	}
	if seen[r.Port] {
		t.Errorf("port %d was given to somebody else", r.Port)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", r.Port))
	if err != nil {
		t.Fatalf("the port that was reserved can't be listened on: %v", err)
	}
	_ = l.Close()
	if _, err := webhooks.Reserve("localhost"); err == nil {
		t.Error("a name was taken for an address")
	}
}
