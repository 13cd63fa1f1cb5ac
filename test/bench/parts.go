package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	clientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/test/bench/load"
)

// partFigures are what each part of a cluster costs while nothing happens.
func partFigures() []figure {
	var out []figure
	for _, p := range []struct{ name, without string }{
		{"API server", "controllers,scheduler"},
		{"API server, scheduler", "controllers"},
		{"API server, controllers", "scheduler"},
		{"API server, controllers, scheduler", ""},
	} {
		out = append(out, figure{"part: " + p.name, "", func(context.Context) (string, error) { return part(p.without) }})
	}
	return append(out,
		figure{"part: the same, node agent, proxier, DNS", "", partNode},
		figure{"one more CustomResourceDefinition, 110 fields", "< 1 MB", func(ctx context.Context) (string, error) { return oneMore(ctx, 100, addDefinition) }},
		figure{"one more CustomResourceDefinition, no fields", "< 1 MB", func(ctx context.Context) (string, error) { return oneMore(ctx, 100, addPlainDefinition) }},
		figure{"one more watch, by a client over TLS", "", func(ctx context.Context) (string, error) { return oneMore(ctx, 1000, addWatch) }},
		figure{"one more pod that waits for a node", "", func(ctx context.Context) (string, error) { return oneMore(ctx, 1000, addPod) }},
		figure{"one more ConfigMap of 1 kB", "", func(ctx context.Context) (string, error) { return oneMore(ctx, 1000, addConfigMap) }})
}

const (
	quiet    = 30 * time.Second // until a process is quiet
	idleTime = 60 * time.Second
)

// share is the part of a core that a process uses.
func share(cpu func() (time.Duration, error)) (float64, error) {
	before, err := cpu()
	if err != nil {
		return 0, err
	}
	time.Sleep(idleTime)
	after, err := cpu()
	return float64(after-before) / float64(idleTime) * 100, err
}

func part(without string) (string, error) {
	s, err := startServer("--without", without)
	if err != nil {
		return "", err
	}
	defer s.stop()
	time.Sleep(quiet)
	memory, err := s.memory()
	if err != nil {
		return "", err
	}
	cpu, err := share(s.cpu)
	return fmt.Sprintf("%s, %.2f %%", memory, cpu), err
}

// partNode is of the process of `skiff up` alone, without containerd.
func partNode(ctx context.Context) (string, error) {
	u, err := prepareUp(ctx)
	if err != nil {
		return "", err
	}
	defer u.remove()
	time.Sleep(quiet)
	s := &server{cmd: u.cmd}
	memory, err := s.memory()
	if err != nil {
		return "", err
	}
	cpu, err := share(s.cpu)
	return fmt.Sprintf("%s, %.2f %%", memory, cpu), err
}

// oneMore is what each of n things costs a server of all parts: what lives
// after a collection, stacks included, and what is resident. The processor time
// is of all n.
func oneMore(ctx context.Context, n int, add func(context.Context, *restclient.Config, int) error) (string, error) {
	s, err := startServer()
	if err != nil {
		return "", err
	}
	defer s.stop()
	cfg, err := s.restConfig()
	if err != nil {
		return "", err
	}
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	if err := load.AccountReady(ctx, k); err != nil {
		return "", err
	}
	before, err := measureIdle(ctx, s, k)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range n {
		if err := add(ctx, cfg, i); err != nil {
			return "", err
		}
	}
	after, err := measureIdle(ctx, s, k)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d kB living, %d resident; %d of them %+.2f %% CPU",
		(after.living-before.living)/1024/n, (after.resident-before.resident)/1024/n, n, after.cpu-before.cpu), nil
}

// idleState is what a server uses, in bytes and per cent of a core.
type idleState struct {
	living, resident int
	cpu              float64
}

func measureIdle(ctx context.Context, s *server, k kubernetes.Interface) (out idleState, err error) {
	time.Sleep(quiet)
	if out.cpu, err = share(s.cpu); err != nil {
		return out, err
	}
	ask := func(path string) ([]byte, error) { return k.Discovery().RESTClient().Get().RequestURI(path).DoRaw(ctx) }
	if _, err := ask("/debug/pprof/heap?gc=1"); err != nil { // it collects
		return out, err
	}
	metrics, err := ask("/metrics")
	if err != nil {
		return out, err
	}
	for line := range strings.Lines(string(metrics)) {
		for _, name := range []string{"go_gc_heap_live_bytes ", "go_memory_classes_heap_stacks_bytes "} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				if err != nil {
					return out, err
				}
				out.living += int(v)
			}
		}
	}
	status, err := s.status()
	out.resident = status["VmRSS"] * 1024
	return out, err
}

// addPlainDefinition adds one that knows no fields.
func addPlainDefinition(ctx context.Context, cfg *restclient.Config, i int) error {
	return createDefinition(ctx, cfg, load.Definition(i))
}

func createDefinition(ctx context.Context, cfg *restclient.Config, crd *apiextensionsv1.CustomResourceDefinition) error {
	c, err := clientset.NewForConfig(cfg)
	if err != nil {
		return err
	}
	_, err = c.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{})
	return err
}

// addDefinition adds one of a hundred fields in its spec and ten in its status,
// with a column.
func addDefinition(ctx context.Context, cfg *restclient.Config, i int) error {
	field := apiextensionsv1.JSONSchemaProps{Type: "string", Description: "What this field is for, in a sentence of a usual length.", MaxLength: new(int64(253))}
	object := func(of apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		out := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		for i := range 10 {
			out.Properties[fmt.Sprintf("field%d", i)] = of
		}
		return out
	}
	crd := load.Definition(i)
	version := &crd.Spec.Versions[0]
	version.Schema.OpenAPIV3Schema.Properties = map[string]apiextensionsv1.JSONSchemaProps{"spec": object(object(field)), "status": object(field)}
	version.Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
	version.AdditionalPrinterColumns = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Field", Type: "string", JSONPath: ".spec.field0.field0"}}
	return createDefinition(ctx, cfg, crd)
}

// addWatch begins a watch that lasts until ctx ends. The clients of a
// configuration share their connections, as kubectl's and a controller's do.
func addWatch(ctx context.Context, cfg *restclient.Config, _ int) error {
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	_, err = k.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	return err
}

func addPod(ctx context.Context, cfg *restclient.Config, i int) error {
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	_, err = k.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i), Labels: map[string]string{"app": "bench"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/image:v1"}}},
	}, metav1.CreateOptions{})
	return err
}

func addConfigMap(ctx context.Context, cfg *restclient.Config, i int) error {
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	_, err = k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i)},
		Data:       map[string]string{"text": strings.Repeat("x", 1000)},
	}, metav1.CreateOptions{})
	return err
}
