package apiserver_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/kubectl/pkg/describe"
	explainv2 "k8s.io/kubectl/pkg/explain/v2"

	"github.com/skiffcluster/skiff/api/all"
	"github.com/skiffcluster/skiff/apiserver"
)

var update = flag.Bool("update", false, "write what was generated instead of comparing")

// golden compares a text with a file, or writes the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the server answers; if it should be, run the test with -update:\n%s", filepath.Base(file), diff.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")))
	}
}

// samples reads testdata/kinds.yaml.
func samples(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	file, err := os.Open("testdata/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		obj := &unstructured.Unstructured{}
		if err := d.Decode(obj); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, obj)
	}
}

// everything is a server that serves alphas and betas too.
func everything(t testing.TB) (*bare, meta.RESTMapper, dynamic.Interface) {
	t.Helper()
	s := start(t, apiserver.Config{RuntimeConfig: map[string]string{"api/all": "true"}})
	c, err := dynamic.NewForConfig(asJSON(s.admin()))
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(s.admin())
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		t.Fatal(err)
	}
	return s, restmapper.NewDiscoveryRESTMapper(groups), c
}

// asJSON is a config whose answers are JSON, as a dynamic client needs.
func asJSON(c *restclient.Config) *restclient.Config {
	c.ContentType, c.AcceptContentTypes = "application/json", "application/json"
	return c
}

// TestEveryKindIsPrintedAsKubernetesDoes creates an object of every kind and
// compares what `kubectl get -o wide` and `kubectl describe` print of it with
// testdata/kinds.golden.
func TestEveryKindIsPrintedAsKubernetesDoes(t *testing.T) {
	t.Parallel()
	s, mapper, client := everything(t)
	cfg := asJSON(s.admin())
	h, err := restclient.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{t, strings.TrimSuffix(cfg.Host, "/"), h}
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, obj := range samples(t) {
		gvk := obj.GroupVersionKind()
		seen[gvk.GroupKind().String()] = true
		m, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			t.Fatal(err)
		}
		create(t, client, m, obj)
		path := "/apis/" + gvk.Group + "/" + gvk.Version
		if gvk.Group == "" {
			path = "/api/" + gvk.Version
		}
		if obj.GetNamespace() != "" {
			path += "/namespaces/" + obj.GetNamespace()
		}
		path += "/" + m.Resource.Resource + "/" + obj.GetName()
		fmt.Fprintf(&out, "# kubectl get %s %s -o wide\n", m.Resource.GroupResource(), obj.GetName())
		table := &metav1.Table{}
		r.get(path, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").into(t, table)
		stop(table)
		if err := printers.NewTablePrinter(printers.PrintOptions{Wide: true}).PrintObj(table, &out); err != nil {
			t.Fatal(err)
		}
		d, ok := describe.DescriberFor(gvk.GroupKind(), cfg)
		if !ok {
			if d, ok = describe.GenericDescriberFor(m, cfg); !ok {
				t.Fatalf("nothing describes %s", gvk)
			}
		}
		text, err := d.Describe(obj.GetNamespace(), obj.GetName(), describe.DescriberSettings{ShowEvents: true, ChunkSize: 500})
		if err != nil {
			t.Errorf("describe %s %s: %v", gvk.Kind, obj.GetName(), err)
		}
		fmt.Fprintf(&out, "# kubectl describe %s %s\n%s\n", m.Resource.GroupResource(), obj.GetName(), text)
	}
	for _, k := range all.Kinds() {
		if !seen[k.GVK.GroupKind().String()] {
			t.Errorf("testdata/kinds.yaml has no %s", k.GVK.GroupKind())
		}
	}
	golden(t, "testdata/kinds.golden", steady(out.String()))
}

// create creates an object and then sets the status that it has.
func create(t testing.TB, client dynamic.Interface, m *meta.RESTMapping, obj *unstructured.Unstructured) {
	t.Helper()
	var api dynamic.ResourceInterface = client.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		api = client.Resource(m.Resource).Namespace(obj.GetNamespace())
	}
	made, err := api.Create(t.Context(), obj, metav1.CreateOptions{FieldValidation: "Strict"})
	if err != nil {
		t.Fatalf("create %s: %v", obj.GetKind(), err)
	}
	if obj.Object["status"] != nil {
		made.Object["status"] = obj.Object["status"]
		if made, err = api.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("set status of %s: %v", obj.GetKind(), err)
		}
	}
	// An object that nobody changed can be written back as it was read.
	again, err := api.Update(t.Context(), made, metav1.UpdateOptions{})
	if err != nil {
		t.Errorf("write %s back: %v", obj.GetKind(), err)
	} else if !apiequality.Semantic.DeepEqual(again, made) {
		t.Errorf("writing %s back changes it:\n%s", obj.GetKind(), diff.Diff(made, again))
	}
}

// stop makes times in a table stand still.
func stop(table *metav1.Table) {
	for i, c := range table.ColumnDefinitions {
		for _, row := range table.Rows {
			switch c.Name {
			case "Age", "Last Seen", "First Seen", "Created At", "Duration", "TimeAdded":
				row.Cells[i] = "TIME"
			}
		}
	}
}

// changing are the parts of the output that are another each time, and what
// stands for them.
var changing = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`(Creation Timestamp|CreationTimestamp|Created on|Start Time|Last Transition Time|Last Update Time):( +).*`), "$1:${2}TIME"},
	{regexp.MustCompile(`Resource Version:( +)\d+`), "Resource Version:${1}N"},
	{regexp.MustCompile(`(?m)[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`), "TIME"},
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
}

func steady(text string) string {
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.by)
	}
	return text
}

func TestEveryKindIsExplained(t *testing.T) {
	t.Parallel()
	s, mapper, _ := everything(t)
	d, err := discovery.NewDiscoveryClientForConfig(asJSON(s.admin()))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all.Kinds() {
		m, err := mapper.RESTMapping(k.GVK.GroupKind(), k.GVK.Version)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := explainv2.PrintModelDescription(nil, &out, d.OpenAPIV3(), m.Resource, false, 0, "plaintext"); err != nil {
			t.Errorf("explain %s: %v", k.GVR, err)
		}
		text := out.String()
		if !strings.Contains(text, "KIND:       "+k.GVK.Kind) || !strings.Contains(text, "metadata") || strings.Contains(text, "DESCRIPTION:\n    <empty>") {
			t.Errorf("explain %s:\n%s", k.GVR, text)
		}
	}
}

// TestNoKindPrintsLessThanItCould sees that kinds which Kubernetes has columns
// for have more than name and age.
func TestNoKindPrintsLessThanItCould(t *testing.T) {
	// These have no more upstream.
	plain := map[string]bool{
		"DeviceClass": true, "ResourceClaimTemplate": true, "Workload": true, "LimitRange": true, "Role": true, "ClusterRole": true,
		"ServiceAccount": true, "CSIStorageCapacity": true,
	}
	for _, k := range all.Kinds() {
		if len(k.Columns) < 3 && !plain[k.GVK.Kind] && (len(k.Columns) < 2 || k.Columns[1].Name == "Age") {
			t.Errorf("%s has %d columns only", k.GVK, len(k.Columns))
		}
	}
}
