package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

func TestArgs(t *testing.T) {
	for name, c := range map[string]struct{ argv, want []string }{
		"skiff has the arguments that it is given":     {[]string{"/usr/bin/skiff", "up", "-v", "2"}, []string{"up", "-v", "2"}},
		"a program without any has none":               {[]string{"skiff"}, nil},
		"etcd is a command of its name":                {[]string{"/a/etcd", "--data-dir=d"}, []string{"envtest", "etcd", "--data-dir=d"}},
		"kube-apiserver too":                           {[]string{"kube-apiserver", "--help"}, []string{"envtest", "kube-apiserver", "--help"}},
		"only the file's name counts, not a directory": {[]string{"/etcd/skiff", "version"}, []string{"version"}},
	} {
		if got := Args(c.argv); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd")
	for _, target := range []string{"/old/skiff", "/new/skiff", "/new/skiff"} {
		if err := link(target, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); err != nil || got != target {
			t.Errorf("the link is to %q (%v), want %q", got, err, target)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the link are %v (%v)", left, err)
	}
	file := filepath.Join(dir, "kube-apiserver")
	if err := os.WriteFile(file, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := link("/new/skiff", file); err == nil {
		t.Error("a file of another's is replaced")
	}
}

// controller-runtime's envtest, as it is, starts what `skiff envtest` makes: with
// its flags, its certificates and its users.
func TestEnvtestStartsSkiff(t *testing.T) {
	t.Setenv(asSkiff, "1")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	self, err := ownPath()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{programEtcd, programAPIServer} {
		if err := link(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "docs", "examples", "website", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		WebhookInstallOptions: envtest.WebhookInstallOptions{
			Paths: []string{filepath.Join("..", "..", "docs", "examples", "website", "config", "webhook", "manifests.yaml")},
		},
		ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute,
		AttachControlPlaneOutput: testing.Verbose(),
	}
	env.ControlPlane.GetAPIServer().Configure().Append("runtime-config", "resource.k8s.io/v1beta1=true")
	config, err := env.Start()
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}

	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
	}
	if err := k.Create(t.Context(), pod); err != nil {
		t.Errorf("a pod without a service account, as envtest has it: %v", err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ServerResourcesForGroupVersion("resource.k8s.io/v1beta1"); err != nil {
		t.Errorf("a flag of the suite has no effect: %v", err)
	}
	refused := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "web.example.com/v1", "kind": "Website", "metadata": map[string]any{"name": "w", "namespace": "default"},
	}}
	if err := k.Create(t.Context(), refused); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("nobody answers the webhook here: %v", err)
	}
	user, err := env.AddUser(envtest.User{Name: "someone"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	as, err := client.New(user.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := as.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights: %v", err)
	}
}
