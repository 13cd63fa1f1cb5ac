package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/webhooks"
	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

// TestOutOfCluster does what somebody who develops the operator does: `make
// install run` against a cluster, here one that listens in this process.
func TestOutOfCluster(t *testing.T) {
	bin := os.Getenv("SKIFF_BIN")
	if bin == "" {
		var err error
		if bin, err = filepath.Abs("../../../bin"); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"skiff", "skiff-kubectl"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			t.Skipf("needs %s: run make build", program)
		}
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, webv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := clustertest.With(t, cluster.Config{Scheme: scheme})
	k, ctx := c.Client(), t.Context()
	port, err := webhooks.Reserve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	p := &project{
		kubeconfig: c.KubeconfigFile(t),
		variables: []string{"SKIFF_BIN=" + bin, "BIN=" + t.TempDir(), fmt.Sprintf("WEBHOOK_PORT=%d", port.Port),
			"FLAGS=--health-probe-bind-address=0 --default-image=example.com/default:v1"},
	}
	p.make(t, "install")
	ended := p.run(t)

	site := &webv1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}, Spec: webv1.WebsiteSpec{Greeting: "Hello"}}
	eventually(t, p, "the webhooks answer", func() (bool, string) {
		err := k.Create(ctx, site)
		return err == nil, fmt.Sprint(err)
	})
	if site.Spec.Image != "example.com/default:v1" {
		t.Errorf("image: got %q, want the one that the operator was started with", site.Spec.Image)
	}
	eventually(t, p, "the site serves", func() (bool, string) {
		err := k.Get(ctx, client.ObjectKeyFromObject(site), site)
		return err == nil && meta.IsStatusConditionTrue(site.Status.Conditions, webv1.Available), fmt.Sprintf("%v %+v", err, site.Status)
	})
	site.Spec.Greeting = "two\nlines"
	if err := k.Update(ctx, site); err == nil || !strings.Contains(err.Error(), "must be one line") {
		t.Errorf("a greeting of two lines: got %v", err)
	}

	// The manager acts with the rights of its service account, so a right that
	// is missing in the cluster is missing here.
	role := &rbacv1.ClusterRole{}
	if err := k.Get(ctx, client.ObjectKey{Name: "website-manager"}, role); err != nil {
		t.Fatal(err)
	}
	for i, rule := range role.Rules {
		if rule.Resources[0] == "services" {
			role.Rules[i].Verbs = []string{"get", "list", "watch"}
		}
	}
	if err := k.Update(ctx, role); err != nil {
		t.Fatal(err)
	}
	poor := &webv1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "poor"}, Spec: webv1.WebsiteSpec{Greeting: "Hello"}}
	if err := k.Create(ctx, poor); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, "the missing right is told", func() (bool, string) {
		err := k.Get(ctx, client.ObjectKeyFromObject(poor), poor)
		said := fmt.Sprintf("%v %+v", err, poor.Status)
		return strings.Contains(said, `User "system:serviceaccount:website-system:website-manager" cannot`), said
	})
	p.stop(t, ended)
}

// project runs make.
type project struct {
	kubeconfig string
	variables  []string
	running    *exec.Cmd
	out        output
}

func (p *project) command(targets ...string) *exec.Cmd {
	c := exec.Command("make", append(targets, p.variables...)...)
	c.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig)
	return c
}

func (p *project) make(t *testing.T, targets ...string) {
	t.Helper()
	if out, err := p.command(targets...).CombinedOutput(); err != nil {
		t.Fatalf("make %v: %v\n%s", targets, err, out)
	}
}

// run is `make run`, until stop or the test's end.
func (p *project) run(t *testing.T) <-chan error {
	t.Helper()
	p.running = p.command("run")
	p.running.Stdout, p.running.Stderr = &p.out, &p.out
	p.running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.running.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer cancel(); ended <- p.running.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.running.Process.Pid, syscall.SIGKILL) // most often it has ended
		<-ctx.Done()
	})
	return ended
}

// stop is Ctrl-C, which make and what it runs get both.
func (p *project) stop(t *testing.T, ended <-chan error) {
	t.Helper()
	if err := syscall.Kill(-p.running.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Errorf("the manager has not ended a minute after SIGTERM; it said:\n%s", p.out.String())
	}
}

func eventually(t *testing.T, p *project, what string, holds func() (bool, string)) {
	t.Helper()
	const patience = time.Minute
	said := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		ok, state := holds()
		if ok {
			return
		}
		said = state
	}
	t.Fatalf("%s: not within %v; last: %s\nthe manager said:\n%s", what, patience, said, p.out.String())
}

// output is what processes have said so far.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}
