package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// makeIn is make in a folder of the repository, with a cluster's kubeconfig and
// the programs that the tests use.
func makeIn(c *cluster, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("make", append([]string{"-C", filepath.Join("../..", dir), "PROFILE=" + c.profile}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig(), "SKIFF_DATA_DIR="+c.dir(), "SKIFF_BIN="+binDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func runMake(t *testing.T, c *cluster, dir string, args ...string) string {
	t.Helper()
	out, err := makeIn(c, dir, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("make %v in %s: %v\n%s", args, dir, err, out)
	}
	return string(out)
}

// TestExampleOperator deploys docs/examples/website: its manager, with its
// webhooks, in a container, and hands over to one on this machine and back.
func TestExampleOperator(t *testing.T) {
	c := running(t)
	k := newNamespace(t, c)
	const dir = "docs/examples/website"
	bin := "BIN=" + t.TempDir()
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "all", "-o", "wide"}, {"logs", "deployment/website-manager", "--tail=50"}, {"events"}, {"describe", "nodes"}} {
				out, _ := k.try(append([]string{"-n", "website-system"}, args...)...)
				t.Logf("kubectl %v in website-system:\n%s", args, out)
			}
		}
		runMake(t, c, dir, bin, "undeploy")
	})
	runMake(t, c, dir, bin, "deploy")
	k.apply(t, `
apiVersion: web.example.com/v1
kind: Website
metadata: {name: hello}
spec: {greeting: Hello from a Website, replicas: 2}
---
apiVersion: web.example.com/v1alpha1
kind: Website
metadata: {name: old}
spec: {message: Hello from an old client}
`)
	k.run(t, "wait", "website", "--all", "--for=condition=Available", "--timeout=90s")
	for name, want := range map[string]string{"hello": "Hello from a Website from hello-", "old": "Hello from an old client from old-"} {
		got := k.run(t, "get", "--raw", "/api/v1/namespaces/"+k.namespace+"/services/http:"+name+":http/proxy/")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s says %q, want %q at its beginning", name, got, want)
		}
	}
	if got := k.run(t, "get", "websites.v1alpha1.web.example.com", "hello", "-o", "jsonpath={.spec.message} {.spec.size} {.status.ready}"); got != "Hello from a Website 2 true" {
		t.Errorf("as v1alpha1: got %q", got)
	}
	k.run(t, "scale", "site/hello", "--replicas=1")
	k.run(t, "wait", "site/hello", "--for=jsonpath={.status.replicas}=1", "--timeout=90s")
	if out := k.fails(t, "patch", "site", "hello", "--type=merge", "-p", `{"spec":{"greeting":"two\nlines"}}`); !strings.Contains(out, "must be one line") {
		t.Errorf("a greeting of two lines: got %s", out)
	}
	handsOver(t, c, k, dir, bin)
	k.run(t, "delete", "site", "--all", "--timeout=60s")
	eventually(t, "what the sites had is gone", func() (bool, string) {
		left := k.run(t, "get", "deployments,services,pods", "-o", "name")
		return left == "", left
	})
}

// TestControllersInTheCluster deploys skiff's own controllers and lets them
// take over from the ones outside when those die.
func TestControllersInTheCluster(t *testing.T) {
	inside(t)
	c := shared
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != nil {
		c.stop(t)
	}
	c.start(t, "--without", "controllers")
	t.Cleanup(func() { c.stop(t) }) // the next test's cluster has its own again
	if !c.loaded {
		c.load(t)
	}
	k := &kubectl{c, "default"}

	local := spawn(t, makeRun(c))
	t.Cleanup(func() { _ = syscall.Kill(-local.cmd.Process.Pid, syscall.SIGKILL); <-local.ended })
	holder := func() string {
		lease, err := k.client(t).CoordinationV1().Leases("kube-system").Get(context.Background(), "kube-controller-manager", metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && lease.Spec.HolderIdentity == nil {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return *lease.Spec.HolderIdentity
	}
	// The Lease, like the node, is still what an earlier start made it.
	outside := ""
	eventually(t, "the controllers outside lead", func() (bool, string) {
		outside = holder()
		return outside != "" && !strings.HasSuffix(outside, c.dir()), outside
	})
	k.run(t, "wait", "node", "--all", "--for=condition=Ready", "--timeout=90s")

	temp := t.TempDir()
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "all", "-o", "wide"}, {"logs", "deployment/skiff-controllers", "--tail=50"}, {"events"}, {"describe", "nodes"}} {
				out, _ := k.try(append([]string{"-n", "skiff-system"}, args...)...)
				t.Logf("kubectl %v in skiff-system:\n%s", args, out)
			}
			t.Logf("the controllers outside said:\n%s", local.out)
		}
		runMake(t, c, ".", "undeploy", "uninstall", "KUBECTL="+filepath.Join(binDir, "skiff-kubectl"))
	})
	runMake(t, c, ".", "-o", "build", "deploy", "BIN="+binDir, "ARCHIVE="+filepath.Join(temp, "skiff.tar"))
	if got := holder(); got != outside || outside == "" {
		t.Errorf("the one that leads: got %q, want %q, which stood by", got, outside)
	}

	if err := syscall.Kill(-local.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-local.ended
	k.run(t, "create", "deployment", "after", "--image="+helloV1, "--replicas=2")
	k.run(t, "rollout", "status", "deployment/after", "--timeout=90s")
	if got := holder(); !strings.HasPrefix(got, "skiff-controllers-") {
		t.Errorf("the one that leads after the other's death: got %q", got)
	}
	k.run(t, "delete", "deployment", "after", "--timeout=60s")
}

// makeRun is `make run` of the controllers, without the build.
func makeRun(c *cluster) *exec.Cmd {
	return makeIn(c, ".", "-o", "build", "run", "BIN="+binDir, "FLAGS=--allocate-node-cidrs --cluster-cidr=10.244.0.0/16")
}
