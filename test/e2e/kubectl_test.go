package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestFirstSteps is what a new user does with a Deployment, in this order.
func TestFirstSteps(t *testing.T) {
	k := newNamespace(t, running(t))
	step := func(name string, f func(*testing.T)) {
		if !t.Run(name, f) {
			t.FailNow() // the next steps build upon it
		}
	}
	step("create deployment makes running pods", func(t *testing.T) {
		want(t, k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=3"), "deployment.apps/web created\n")
		contains(t, "rollout status", k.run(t, "rollout", "status", "deployment/web", "--timeout=90s"), `deployment "web" successfully rolled out`)
		if pods := k.pods(t, "app=web"); len(pods) != 3 {
			t.Errorf("got %d pods, want 3", len(pods))
		}
	})
	step("expose makes a service", func(t *testing.T) {
		want(t, k.run(t, "expose", "deployment", "web", "--port=80", "--target-port=8080"), "service/web exposed\n")
	})
	step("get all shows each in its columns", func(t *testing.T) {
		out := k.run(t, "get", "all", "-o", "wide")
		matches(t, out,
			`NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES`,
			`pod/web-[0-9a-z]+-[0-9a-z]{5} +1/1 +Running +0 +\d+s +10\.244\.0\.\d+ +default-0 +<none> +<none>`,
			`NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE +SELECTOR`,
			`service/web +ClusterIP +10\.[0-9.]+ +<none> +80/TCP +\d+s +app=web`,
			`NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR`,
			`deployment.apps/web +3/3 +3 +3 +\d+s +hello +skiff.dev/hello:v1 +app=web`,
			`NAME +DESIRED +CURRENT +READY +AGE +CONTAINERS +IMAGES +SELECTOR`,
			`replicaset.apps/web-[0-9a-z]+ +3 +3 +3 +\d+s +hello +skiff.dev/hello:v1 +app=web,pod-template-hash=[0-9a-z]+`)
	})
	step("describe tells of conditions and events", func(t *testing.T) {
		matches(t, k.run(t, "describe", "deployment", "web"),
			`Replicas: +3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable`,
			`Available +True +MinimumReplicasAvailable`,
			`Progressing +True +NewReplicaSetAvailable`,
			`Normal +ScalingReplicaSet +\S+ +deployment-controller +Scaled up replica set web-[0-9a-z]+ from 0 to 3`)
		matches(t, k.run(t, "describe", "pod", k.pods(t, "app=web")[0].Name),
			`Node: +default-0/192\.0\.2\.2`, `Status: +Running`, `Controlled By: +ReplicaSet/web-`, `Container ID: +containerd://[0-9a-f]{64}`,
			`QoS Class: +BestEffort`, `/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-[0-9a-z]{5} \(ro\)`,
			`Normal +Scheduled +\S+ +default-scheduler +Successfully assigned `, `Normal +Started +\S+ +kubelet`)
		matches(t, k.run(t, "describe", "service", "web"), `Endpoints: +10\.244\.0\.\d+:8080,10\.244\.0\.\d+:8080,10\.244\.0\.\d+:8080`)
		matches(t, k.run(t, "describe", "node", "default-0"), `Ready +True`, `Container Runtime Version: +containerd://`, `PodCIDR: +10\.244\.0\.0/24`)
	})
	step("logs follows what a container writes", func(t *testing.T) { followLogs(t, k) })
	step("exec runs a command and passes its exit code", func(t *testing.T) {
		want(t, k.run(t, "exec", "deploy/web", "--", "echo", "hello", "there"), "hello there\n")
		contains(t, "exec", k.fails(t, "exec", "deploy/web", "--", "sh", "-c", "exit 7"), "command terminated with exit code 7")
		want(t, k.runWith(t, func(c *exec.Cmd) { c.Stdin = strings.NewReader("from here\n") }, "exec", "-i", "deploy/web", "--", "cat"), "from here\n")
	})
	step("exec -it gives a terminal", func(t *testing.T) { terminal(t, k) })
	step("port-forward reaches the container", func(t *testing.T) { portForward(t, k) })
	step("cp copies files there and back", func(t *testing.T) {
		pod, dir := k.pods(t, "app=web")[0].Name, t.TempDir()
		there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
		content := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: more than one packet
		if err := os.WriteFile(there, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		k.run(t, "cp", there, pod+":/tmp/copied")
		k.run(t, "cp", pod+":/tmp/copied", back)
		got, err := os.ReadFile(back)
		if err != nil || string(got) != content {
			t.Errorf("got %d bytes, %v; want the %d bytes that went there", len(got), err, len(content))
		}
	})
	step("scale changes the number of pods", func(t *testing.T) {
		want(t, k.run(t, "scale", "deployment/web", "--replicas=5"), "deployment.apps/web scaled\n")
		k.run(t, "wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=90s")
		k.run(t, "scale", "deployment/web", "--replicas=2", "--current-replicas=5")
		k.run(t, "wait", "deployment/web", "--for=jsonpath={.status.replicas}=2", "--timeout=90s")
		eventually(t, "two pods are left", func() (bool, string) {
			pods := k.pods(t, "app=web")
			return len(pods) == 2, fmt.Sprint(len(pods))
		})
		contains(t, "scale", k.fails(t, "scale", "deployment/web", "--replicas=1", "--current-replicas=9"), "Expected replicas to be 9, was 2")
	})
	step("set image rolls out and undo rolls back", func(t *testing.T) {
		want(t, k.run(t, "set", "image", "deployment/web", "hello="+helloV2), "deployment.apps/web image updated\n")
		contains(t, "rollout status", k.run(t, "rollout", "status", "deployment/web", "--timeout=90s"), `deployment "web" successfully rolled out`)
		contains(t, "env", k.run(t, "exec", "deploy/web", "--", "env"), "VERSION=v2")
		k.run(t, "annotate", "deployment/web", "kubernetes.io/change-cause=second")
		matches(t, k.run(t, "rollout", "history", "deployment/web"), `REVISION +CHANGE-CAUSE`, `(?m)^1 +<none>$`, `(?m)^2 +second$`)
		matches(t, k.run(t, "rollout", "history", "deployment/web", "--revision=1"), `Image:\s+skiff.dev/hello:v1`)
		want(t, k.run(t, "rollout", "undo", "deployment/web"), "deployment.apps/web rolled back\n")
		k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
		contains(t, "env", k.run(t, "exec", "deploy/web", "--", "env"), "VERSION=v1")
		matches(t, k.run(t, "rollout", "history", "deployment/web"), `(?m)^2 +second$`, `(?m)^3 +<none>$`)
		k.run(t, "rollout", "restart", "deployment/web")
		k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	})
	step("a deleted pod is replaced", func(t *testing.T) {
		eventually(t, "no old pod is left", func() (bool, string) { n := len(k.pods(t, "app=web")); return n == 2, fmt.Sprint(n) })
		name := k.pods(t, "app=web")[0].Name
		contains(t, "delete", k.run(t, "delete", "pod", name), fmt.Sprintf("pod %q deleted", name))
		eventually(t, "another pod runs", func() (bool, string) {
			ready := 0
			for _, p := range k.pods(t, "app=web") {
				if p.Name == name {
					t.Fatalf("pod %s is still there", name)
				}
				if isReady(&p) {
					ready++
				}
			}
			return ready == 2, fmt.Sprint(ready)
		})
	})
	step("delete takes the children along", func(t *testing.T) {
		k.run(t, "delete", "deployment,service", "web")
		eventually(t, "nothing is left", func() (bool, string) {
			out, err := k.try("get", "all")
			return err == nil && strings.Contains(out, "No resources found"), out
		})
	})
}

func followLogs(t *testing.T, k *kubectl) {
	k.run(t, "run", "counter", "--image="+tools, "--restart=Never", "--", "count", "20ms")
	k.run(t, "wait", "pod/counter", "--for=condition=Ready", "--timeout=90s")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := k.command(ctx, "logs", "-f", "counter")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := range 100 {
		if !lines.Scan() || lines.Text() != fmt.Sprint(i) {
			t.Fatalf("line %d: got %q, %v", i, lines.Text(), lines.Err())
		}
	}
	// The log ends with the pod.
	k.run(t, "delete", "pod", "counter", "--grace-period=0", "--force")
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil && ctx.Err() != nil {
		t.Errorf("logs -f has not ended with its pod: %v", err)
	}
	pod := k.pods(t, "app=web")[0].Name
	all := k.run(t, "logs", pod)
	contains(t, "logs", all, "serving on :8080")
	lastLine := k.run(t, "logs", pod, "--tail=1")
	if strings.Count(lastLine, "\n") != 1 || !strings.HasSuffix(all, lastLine) {
		t.Errorf("logs --tail=1: got %q, want the last line of\n%s", lastLine, all)
	}
	matches(t, k.run(t, "logs", pod, "--timestamps"), `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z `)
	contains(t, "logs --previous", k.fails(t, "logs", pod, "--previous"), "previous terminated container", "not found")
}

func terminal(t *testing.T, k *kubectl) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := k.command(ctx, "exec", "-it", "deploy/web", "--", "sh")
	tty := onTerminal(t, cmd)
	said := &output{}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(said, tty) // a terminal ends with EIO
	}()
	expect := func(text string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the terminal shows %q", text), func() (bool, string) {
			return strings.Contains(said.String(), text), said.String()
		})
	}
	expect("/ # ")
	fmt.Fprint(tty, "echo one two\r")
	expect("\r\none two\r\n")
	fmt.Fprint(tty, "exit 4\r")
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("got %v, want exit code 4; the terminal shows\n%s", err, said)
	}
	_ = tty.Close()
	<-copied
}

func portForward(t *testing.T, k *kubectl) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := spawn(t, k.command(ctx, "port-forward", "service/web", ":80"))
	address := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+) -> 8080`)
	var found []string
	eventually(t, "it forwards", func() (bool, string) {
		found = address.FindStringSubmatch(p.out.String())
		return found != nil, p.out.String()
	})
	// One after the other and at once: each is a stream of its own.
	failed := make(chan error, 20)
	for range cap(failed) {
		go func() { failed <- ask("http://"+found[1], "Hello from web-") }()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	p.signal(t, os.Interrupt)
}

// ask asks a URL, the answer to which must begin as wanted.
func ask(url, want string) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(body), want) {
		return fmt.Errorf("%s answers %q, want %q…", url, body, want)
	}
	return nil
}

func want(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// matches checks that text has a match of each pattern.
func matches(t testing.TB, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("got\n%s\nwant a match of %s", text, p)
		}
	}
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}
