package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/test/namespaces"
)

// TestKilledDuringRollingUpdate kills skiff with no chance to say good-bye.
func TestKilledDuringRollingUpdate(t *testing.T) {
	c := running(t)
	k := newNamespace(t, c)
	k.run(t, "create", "deployment", "still", "--image="+helloV1, "--replicas=3")
	k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=6")
	k.run(t, "rollout", "status", "deployment/still", "--timeout=90s")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	before := containers(k.pods(t, "app=still"))

	k.run(t, "set", "image", "deployment/web", "hello="+helloV2)
	eventually(t, "the update has begun", func() (bool, string) {
		images := map[string]int{}
		for _, p := range k.pods(t, "app=web") {
			images[p.Spec.Containers[0].Image]++
		}
		return images[helloV2] > 0 && images[helloV1] > 0, fmt.Sprint(images)
	})
	c.up.signal(t, syscall.SIGKILL)
	for pod, was := range before {
		if err := syscall.Kill(was.pid(t, c), 0); err != nil {
			t.Errorf("the container of %s does not run without skiff: %v", pod, err)
		}
	}
	c.start(t)
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	for _, p := range k.pods(t, "app=web") {
		if p.DeletionTimestamp == nil && p.Spec.Containers[0].Image != helloV2 {
			t.Errorf("pod %s has image %s", p.Name, p.Spec.Containers[0].Image)
		}
	}
	same(t, k, before)
	contains(t, "exec", k.run(t, "exec", "deploy/web", "--", "env"), "VERSION=v2")
	contains(t, "logs", k.run(t, "logs", "deploy/still"), "serving on :8080")
}

// TestStoppedAndStarted ends skiff by Ctrl-C, the way people do.
func TestStoppedAndStarted(t *testing.T) {
	c := running(t)
	k := newNamespace(t, c)
	k.run(t, "create", "configmap", "kept", "--from-literal=a=b")
	k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=2")
	k.run(t, "expose", "deployment", "web", "--port=80", "--target-port=8080")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	before := containers(k.pods(t, "app=web"))
	c.stop(t)
	if out, err := k.try("get", "nodes"); err == nil {
		t.Errorf("the API still answers:\n%s", out)
	}
	out, err := skiff("status", "--profile", c.profile, "--data-dir", c.dir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not running") {
		t.Errorf("skiff status: got %v:\n%s", err, out)
	}
	c.start(t)
	want(t, k.run(t, "get", "configmap/kept", "-o", "jsonpath={.data.a}"), "b")
	same(t, k, before)
	url := "http://" + k.run(t, "get", "service/web", "-o", "jsonpath={.spec.clusterIP}")
	eventually(t, "the service answers", func() (bool, string) {
		err := ask(url, "Hello from web-")
		return err == nil, fmt.Sprint(err)
	})
	k.run(t, "scale", "deployment/web", "--replicas=3")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
}

// TestKilledContainer kills a container's process behind the agent's back.
func TestKilledContainer(t *testing.T) {
	c := running(t)
	k := newNamespace(t, c)
	k.run(t, "run", "web", "--image="+helloV1)
	k.run(t, "wait", "pod/web", "--for=condition=Ready", "--timeout=90s")
	before := containers(k.pods(t, "run=web"))["web"]
	if err := syscall.Kill(before.pid(t, c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	pod := k.waitPod(t, "web", "is ready again", func(p *corev1.Pod) bool {
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	s := pod.Status.ContainerStatuses[0]
	if last := s.LastTerminationState.Terminated; last == nil || last.ExitCode != 137 || "containerd://"+before.id != last.ContainerID {
		t.Errorf("last state: got %+v, want exit code 137 of container %s", last, before.id)
	}
	contains(t, "exec", k.run(t, "exec", "web", "--", "echo", "back"), "back\n")
}

// TestKilledContainerd kills containerd, which containers outlive.
func TestKilledContainerd(t *testing.T) {
	c := running(t)
	k := newNamespace(t, c)
	k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=2")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	before := containers(k.pods(t, "app=web"))
	pid := processOf(t, filepath.Join(binDir, "containerd"), c.dir())
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "commands run in containers again", func() (bool, string) {
		out, err := k.try("exec", "deploy/web", "--", "echo", "back")
		return err == nil && out == "back\n", out
	})
	k.run(t, "scale", "deployment/web", "--replicas=3")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	same(t, k, before)
	if again := processOf(t, filepath.Join(binDir, "containerd"), c.dir()); again == pid {
		t.Errorf("containerd is still process %d", pid)
	}
}

// container is what tells one run of a container from the next.
type container struct {
	id, started string
	restarts    int32
}

func containers(pods []corev1.Pod) map[string]container {
	out := map[string]container{}
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			c := container{id: strings.TrimPrefix(s.ContainerID, "containerd://"), restarts: s.RestartCount}
			if s.State.Running != nil {
				c.started = s.State.Running.StartedAt.String()
			}
			out[p.Name] = c
		}
	}
	return out
}

// same checks that the containers run which ran before.
func same(t *testing.T, k *kubectl, before map[string]container) {
	t.Helper()
	now := containers(k.pods(t, ""))
	for pod, was := range before {
		if now[pod] != was {
			t.Errorf("container of pod %s: got %+v, want %+v", pod, now[pod], was)
		}
	}
}

// pid is the container's first process: its cgroup has the container's name.
func (c container) pid(t testing.TB, in *cluster) int {
	t.Helper()
	found := 0
	eachProcess(t, func(pid int, _ []string) {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && bytes.Contains(raw, []byte(c.id)) && (found == 0 || pid < found) {
			found = pid
		}
	})
	if found == 0 {
		t.Fatalf("container %s of %s has no process", c.id, in.dir())
	}
	return found
}

// processOf finds a program that runs with an argument below dir.
func processOf(t testing.TB, program, dir string) int {
	t.Helper()
	found := 0
	eachProcess(t, func(pid int, args []string) {
		if args[0] == program && strings.Contains(strings.Join(args, " "), dir+"/") {
			found = pid
		}
	})
	if found == 0 {
		t.Fatalf("%s does not run in %s", program, dir)
	}
	return found
}

// eachProcess calls f with every process of the tests' namespace that runs.
func eachProcess(t testing.TB, f func(pid int, args []string)) {
	t.Helper()
	all, err := namespaces.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		f(p.PID, p.Args)
	}
}
