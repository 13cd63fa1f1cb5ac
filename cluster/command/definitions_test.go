package command

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// said is output that is read while it is written.
type said struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

const boat = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  names: {kind: Boat, plural: boats}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {sails: {type: integer, maximum: 2}}}}}}
`

func TestDefinitionsFollowTheirFiles(t *testing.T) {
	c := clustertest.APIServer(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "boats.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(boat)
	out := new(said)
	d, err := newDefinitions([]string{dir}, out, c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.follow(ctx)
	}()
	t.Cleanup(func() { end(); <-ended })
	client, err := dynamic.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	boats := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "boats"}).Namespace("default")
	says := func(want string, times int) {
		t.Helper()
		for begin := time.Now(); strings.Count(out.String(), want) != times; time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("says %q, not %d times %q", out, times, want)
			}
		}
	}
	says("customresourcedefinition.apiextensions.k8s.io/boats.example.com created\n", 1)

	write("spec: [")
	says("The definition in force stays: read manifest "+file, 1)
	write(strings.Replace(boat, "type: integer", "type: whole", 1))
	says(`Unsupported value: "whole"`, 1)
	if _, err := boats.List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("boats are served no longer: %v", err)
	}

	// Somebody works on the operator on this machine.
	url := []byte(`{"spec":{"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":"https://127.0.0.1:9443/convert"}}}}}`)
	if _, err := d.live.Patch(ctx, "boats.example.com", types.MergePatchType, url, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(boat, "maximum: 2", "maximum: 3", 1) +
		"  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {name: webhook, namespace: fleet}}}}\n")
	says("customresourcedefinition.apiextensions.k8s.io/boats.example.com configured\n", 1)
	live, err := d.live.Get(ctx, "boats.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := unstructured.NestedString(live.Object, "spec", "conversion", "webhook", "clientConfig", "url"); got != "https://127.0.0.1:9443/convert" {
		t.Errorf("the local webhook is asked no longer: %q", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ships.yaml"), []byte(strings.NewReplacer("boat", "ship", "Boat", "Ship").Replace(boat)), 0o600); err != nil {
		t.Fatal(err)
	}
	says("customresourcedefinition.apiextensions.k8s.io/ships.example.com created\n", 1)
	if _, err := d.live.Get(ctx, "boats.example.com", metav1.GetOptions{}); err != nil {
		t.Errorf("removed with its file: %v", err)
	}
	says("configured\n", 1)
}
