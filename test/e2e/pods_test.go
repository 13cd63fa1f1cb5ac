package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPods is the life of single pods, all at once.
func TestPods(t *testing.T) {
	c := running(t)
	for _, p := range []struct {
		name string
		test func(*testing.T, *kubectl)
	}{
		{"configuration reaches files and variables, and follows changes", volumes},
		{"a failing liveness probe restarts, a readiness probe takes out of service", probes},
		{"init containers run one after the other before the others", initContainers},
		{"a container that fails again and again is in back-off", crashLoop},
		{"a container that eats too much is killed", outOfMemory},
		{"an image that can't be had is waited for", noImage},
		{"a pod that must not restart ends", runToEnd},
		{"a container may end by itself, and is killed when it takes too long", termination},
		{"containers of a pod share network, names and volumes", sharing},
		{"limits and identity are in the container", limits},
		{"limits change while a container runs", resized},
		{"a debugger sees the processes of its target", debugged},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.test(t, newNamespace(t, c))
		})
	}
}

func volumes(t *testing.T, k *kubectl) {
	k.run(t, "create", "configmap", "settings", "--from-literal=color=red", "--from-literal=size=1")
	k.run(t, "create", "secret", "generic", "keys", "--from-literal=token=abc")
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {app: reader}, annotations: {note: hi}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: `+helloV1+`
    env:
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
    - {name: MISSING, valueFrom: {configMapKeyRef: {name: none, key: none, optional: true}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: BOTH, value: "$(COLOR)-$(POD)"}
    envFrom: [{prefix: S_, configMapRef: {name: settings}}]
    resources: {limits: {memory: 64Mi}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /keys}
    - {name: all, mountPath: /all}
    - {name: scratch, mountPath: /scratch}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - {name: scratch, emptyDir: {}}
  - name: all
    projected:
      sources:
      - configMap: {name: settings, items: [{key: color, path: sub/color}]}
      - secret: {name: keys}
      - downwardAPI: {items: [{path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}]}
      - serviceAccountToken: {path: account, audience: other}
`)
	k.run(t, "wait", "pod/reader", "--for=condition=Ready", "--timeout=90s")
	pod := k.pods(t, "app=reader")[0]
	env := strings.Split(k.run(t, "exec", "reader", "--", "env"), "\n")
	for _, v := range []string{"COLOR=red", "TOKEN=abc", "POD=reader", "IP=" + pod.Status.PodIP, "LIMIT=64", "BOTH=red-reader", "S_size=1", "KUBERNETES_SERVICE_HOST=10.96.0.1", "HOSTNAME=reader"} {
		if !slices.Contains(env, v) {
			t.Errorf("environment: got %q, want %s in it", env, v)
		}
	}
	cat := func(path string) string { return k.run(t, "exec", "reader", "--", "cat", path) }
	want(t, cat("/settings/size"), "1")
	want(t, cat("/keys/token"), "abc")
	want(t, cat("/all/sub/color"), "red")
	want(t, cat("/all/note"), "hi")
	if parts := strings.Split(cat("/all/account"), "."); len(parts) != 3 {
		t.Errorf("the token is no JWT: %q", parts)
	}
	contains(t, "CA", cat("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"), "BEGIN CERTIFICATE")
	want(t, cat("/var/run/secrets/kubernetes.io/serviceaccount/namespace"), k.namespace)
	contains(t, "write to a ConfigMap's volume", k.fails(t, "exec", "reader", "--", "sh", "-c", "echo x > /settings/size"), "read-only file system")
	k.run(t, "exec", "reader", "--", "sh", "-c", "echo x > /scratch/file")

	k.run(t, "patch", "configmap/settings", "-p", `{"data":{"color":"blue","size":null}}`)
	k.run(t, "annotate", "pod/reader", "note=ho", "--overwrite")
	eventually(t, "files follow", func() (bool, string) {
		out, err := k.try("exec", "reader", "--", "sh", "-c", "ls /settings; cat /settings/color; cat /all/sub/color; cat /all/note")
		return err == nil && out == "color\nblueblueho", out
	})
	want(t, k.run(t, "exec", "reader", "--", "sh", "-c", "echo $COLOR"), "red\n")
	if p := k.pods(t, "app=reader")[0]; p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the container was restarted: %s", status(&p))
	}
}

func probes(t *testing.T, k *kubectl) {
	dir := t.TempDir()
	file := func(name string, there bool) {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.RemoveAll(path)
		if there {
			err = os.WriteFile(path, []byte("x"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file("alive", true)
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: probed, labels: {app: probed}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: switches, hostPath: {path: "`+dir+`", type: Directory}}]
  containers:
  - name: main
    image: `+helloV1+`
    ports: [{name: web, containerPort: 8080}]
    startupProbe: {httpGet: {path: /healthz, port: web}, periodSeconds: 1}
    livenessProbe: {exec: {command: [cat, /switches/alive]}, periodSeconds: 1, failureThreshold: 1}
    readinessProbe: {exec: {command: [cat, /switches/ready]}, periodSeconds: 1, failureThreshold: 1}
    volumeMounts: [{name: switches, mountPath: /switches}]
`)
	k.run(t, "expose", "pod", "probed", "--port=80", "--target-port=8080")
	first := k.waitPod(t, "probed", "has started but is not ready", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].Started != nil && *s[0].Started && !s[0].Ready
	}).Status.ContainerStatuses[0]
	inService := func(ready string) {
		t.Helper()
		k.run(t, "wait", "endpointslice", "-l", "kubernetes.io/service-name=probed", "--for=jsonpath={.endpoints[0].conditions.ready}="+ready, "--timeout=90s")
	}
	file("ready", true)
	inService("true")
	file("ready", false)
	inService("false")
	file("ready", true)
	k.run(t, "wait", "pod/probed", "--for=condition=Ready", "--timeout=90s")
	file("alive", false)
	k.waitPod(t, "probed", "is restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount > 0 })
	file("alive", true)
	again := k.waitPod(t, "probed", "is ready again", isReady).Status.ContainerStatuses[0]
	if again.ContainerID == first.ContainerID {
		t.Errorf("it is still container %s", first.ContainerID)
	}
	contains(t, "events", k.run(t, "events", "--for", "pod/probed"), "Unhealthy", "Liveness probe failed: cat: open /switches/alive: no such file or directory",
		"Readiness probe failed", "Container main failed liveness probe, will be restarted")
}

func initContainers(t *testing.T, k *kubectl) {
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: prepared, labels: {app: prepared}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: work, emptyDir: {}}]
  initContainers:
  - {name: one, image: `+helloV1+`, command: [sh, -c, "echo first > /scratch/one"], volumeMounts: [{name: work, mountPath: /scratch}]}
  - {name: two, image: `+helloV1+`, command: [sh, -c, "cat /scratch/one && echo second > /scratch/two"], volumeMounts: [{name: work, mountPath: /scratch}]}
  containers:
  - {name: main, image: `+helloV1+`, command: [sh, -c, "cat /scratch/one && cat /scratch/two && sleep infinity"], volumeMounts: [{name: work, mountPath: /scratch}]}
---
apiVersion: v1
kind: Pod
metadata: {name: unprepared}
spec:
  restartPolicy: Never
  initContainers:
  - {name: one, image: `+helloV1+`, command: [sh, -c, "exit 3"]}
  containers:
  - {name: main, image: `+helloV1+`}
`)
	k.run(t, "wait", "pod/prepared", "--for=condition=Ready", "--timeout=90s")
	want(t, k.run(t, "logs", "prepared"), "first\nsecond\n")
	pod := k.pods(t, "app=prepared")[0]
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Terminated == nil || s.State.Terminated.Reason != "Completed" {
			t.Errorf("init container: got %+v", s.State)
		}
	}
	if one, two := pod.Status.InitContainerStatuses[0].State.Terminated, pod.Status.InitContainerStatuses[1].State.Terminated; one != nil && two != nil && two.StartedAt.Before(&one.FinishedAt) {
		t.Errorf("two began at %v, before the end of one at %v", two.StartedAt, one.FinishedAt)
	}
	failed := k.waitPod(t, "unprepared", "has failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if s := failed.Status.ContainerStatuses; len(s) != 1 || s[0].State.Waiting == nil || s[0].State.Waiting.Reason != "PodInitializing" {
		t.Errorf("its container: got %+v", s)
	}
	matches(t, k.run(t, "get", "pods"), `prepared +1/1 +Running +0`, `unprepared +0/1 +Init:Error +0`)
}

func crashLoop(t *testing.T, k *kubectl) {
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: crash-loop}
spec:
  containers:
  - {name: main, image: `+helloV1+`, command: [sh, -c, "echo dying; exit 3"], terminationMessagePolicy: FallbackToLogsOnError}
`)
	pod := k.waitPod(t, "crash-loop", "is in back-off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].RestartCount > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	s := pod.Status.ContainerStatuses[0]
	if pod.Status.Phase != corev1.PodRunning || s.Ready {
		t.Errorf("got phase %s, want Running and a container that is not ready: %s", pod.Status.Phase, status(pod))
	}
	if last := s.LastTerminationState.Terminated; last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "dying\n" {
		t.Errorf("last state: got %+v", last)
	}
	matches(t, k.run(t, "get", "pod", "crash-loop"), `0/1 +CrashLoopBackOff +\d+ \(\d+s ago\)`)
	want(t, k.run(t, "logs", "crash-loop", "--previous"), "dying\n")
	contains(t, "events", k.run(t, "events", "--for", "pod/crash-loop"), "BackOff", "Back-off restarting failed container main in pod crash-loop_"+k.namespace)
}

func outOfMemory(t *testing.T, k *kubectl) {
	k.run(t, "run", "glutton", "--image="+tools, "--restart=Never", `--overrides={"spec":{"containers":[{"name":"glutton","image":"`+tools+`","args":["eat"],"resources":{"limits":{"memory":"32Mi"}}}]}}`)
	pod := k.waitPod(t, "glutton", "has failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.Reason != "OOMKilled" || end.ExitCode != 137 {
		t.Errorf("got %+v", end)
	}
	matches(t, k.run(t, "get", "pod", "glutton"), `0/1 +OOMKilled +0`)
}

func noImage(t *testing.T, k *kubectl) {
	k.run(t, "run", "never", "--image=skiff.dev/none:v1", "--image-pull-policy=Never")
	k.run(t, "run", "nowhere", "--image=127.0.0.1:1/none:v1")
	waits := func(name, reason string) *corev1.Pod {
		return k.waitPod(t, name, "waits by "+reason, func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason
		})
	}
	pod := waits("never", "ErrImageNeverPull")
	want(t, pod.Status.ContainerStatuses[0].State.Waiting.Message, `Container image "skiff.dev/none:v1" is not present with pull policy of Never`)
	waits("nowhere", "ErrImagePull")
	pod = waits("nowhere", "ImagePullBackOff")
	contains(t, "message", pod.Status.ContainerStatuses[0].State.Waiting.Message, `Back-off pulling image "127.0.0.1:1/none:v1"`)
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("got phase %s, want Pending", pod.Status.Phase)
	}
	contains(t, "events", k.run(t, "events", "--for", "pod/nowhere"), `Pulling image "127.0.0.1:1/none:v1"`, `Failed to pull image "127.0.0.1:1/none:v1"`, "Error: ErrImagePull", "Error: ImagePullBackOff")
	// A right name cures it.
	k.run(t, "set", "image", "pod/nowhere", "nowhere="+helloV1)
	k.run(t, "wait", "pod/nowhere", "--for=condition=Ready", "--timeout=90s")
}

func runToEnd(t *testing.T, k *kubectl) {
	want(t, k.run(t, "run", "well", "--image="+helloV1, "--restart=Never", "--command", "--", "echo", "done"), "pod/well created\n")
	k.run(t, "run", "badly", "--image="+helloV1, "--restart=Never", "--command", "--", "sh", "-c", "exit 5")
	k.run(t, "wait", "pod/well", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
	k.run(t, "wait", "pod/badly", "--for=jsonpath={.status.phase}=Failed", "--timeout=90s")
	want(t, k.run(t, "logs", "well"), "done\n")
	matches(t, k.run(t, "get", "pods"), `well +0/1 +Completed +0`, `badly +0/1 +Error +0`)
	pod := k.waitPod(t, "badly", "tells its exit code", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].State.Terminated != nil })
	if code := pod.Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 5 || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("got exit code %d and %d restarts, want 5 and none", code, pod.Status.ContainerStatuses[0].RestartCount)
	}
	want(t, k.runWith(t, func(c *exec.Cmd) { c.Stdin = strings.NewReader("asked and answered\n") }, "run", "asked", "--image="+helloV1, "--restart=Never", "--rm", "--stdin", "--quiet", "--command", "--", "cat"), "asked and answered\n")
}

func termination(t *testing.T, k *kubectl) {
	k.run(t, "run", "polite", "--image="+helloV1)
	k.run(t, "run", "stubborn", "--image="+tools, `--overrides={"spec":{"terminationGracePeriodSeconds":2,"containers":[{"name":"stubborn","image":"`+tools+`","args":["stubborn"]}]}}`)
	k.run(t, "wait", "pod/polite", "pod/stubborn", "--for=condition=Ready", "--timeout=90s")
	// What it writes after SIGTERM is seen: it was asked, not killed.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	follow := spawn(t, k.command(ctx, "logs", "-f", "polite"))
	eventually(t, "its log is followed", func() (bool, string) { return strings.Contains(follow.out.String(), "serving"), follow.out.String() })
	eventually(t, "stubborn ignores signals", func() (bool, string) {
		out, err := k.try("logs", "stubborn")
		return err == nil && out == "ready\n", out
	})
	k.run(t, "delete", "pod", "polite", "stubborn")
	<-follow.ended
	contains(t, "log", follow.out.String(), "stopping\n")
	contains(t, "events", k.run(t, "events", "--for", "pod/stubborn"), "Killing", "Stopping container stubborn")
}

func sharing(t *testing.T, k *kubectl) {
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: work, emptyDir: {}}]
  containers:
  - {name: server, image: `+helloV1+`, volumeMounts: [{name: work, mountPath: /scratch}]}
  - {name: client, image: `+helloV1+`, command: [sleep, infinity], volumeMounts: [{name: work, mountPath: /data}]}
`)
	k.run(t, "wait", "pod/pair", "--for=condition=Ready", "--timeout=90s")
	want(t, k.run(t, "exec", "pair", "-c", "client", "--", "wget", "http://127.0.0.1:8080/"), "Hello from pair\n")
	want(t, k.run(t, "exec", "pair", "-c", "client", "--", "hostname"), "pair\n")
	k.run(t, "exec", "pair", "-c", "server", "--", "sh", "-c", "echo shared > /scratch/file")
	want(t, k.run(t, "exec", "pair", "-c", "client", "--", "cat", "/data/file"), "shared\n")
	contains(t, "exec", k.run(t, "exec", "pair", "--", "hostname"), "pair\n")
	contains(t, "logs", k.run(t, "logs", "pair", "--all-containers", "--prefix"), "[pod/pair/server] ")
}

func limits(t *testing.T, k *kubectl) {
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: limited, labels: {app: limited}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000}
  volumes: [{name: work, emptyDir: {}}]
  containers:
  - name: main
    image: `+helloV1+`
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}
    volumeMounts: [{name: work, mountPath: /scratch}]
`)
	k.run(t, "wait", "pod/limited", "--for=condition=Ready", "--timeout=90s")
	want(t, k.run(t, "exec", "limited", "--", "id"), "uid=1000 gid=2000\n")
	contains(t, "exec", k.fails(t, "exec", "limited", "--", "sh", "-c", "echo x > /file"), "read-only file system")
	k.run(t, "exec", "limited", "--", "sh", "-c", "echo x > /scratch/file")
	if qos := k.pods(t, "app=limited")[0].Status.QOSClass; qos != corev1.PodQOSGuaranteed {
		t.Errorf("got QoS class %s, want Guaranteed", qos)
	}
	contains(t, "seen limits", k.run(t, "exec", "limited", "--", "cat", "/proc/self/status"), "NoNewPrivs:\t1", "Uid:\t1000")
}

// resized reads the limits of a container that runs in its own cgroup.
func resized(t *testing.T, k *kubectl) {
	k.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: resized, labels: {app: resized}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: beside, image: `+helloV1+`, command: [sleep, infinity], restartPolicy: Always, resources: {limits: {memory: 32Mi, cpu: 50m}}}
  containers:
  - name: main
    image: `+helloV1+`
    resources: {requests: {memory: 32Mi, cpu: 50m}, limits: {memory: 64Mi, cpu: 100m}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
`)
	k.run(t, "wait", "pod/resized", "--for=condition=Ready", "--timeout=90s")
	resize := func(list, name, resources string) {
		t.Helper()
		k.run(t, "patch", "pod/resized", "--subresource=resize", "-p", `{"spec": {"`+list+`": [{"name": "`+name+`", "resources": `+resources+`}]}}`)
	}
	files := []string{"/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/memory.max"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil { // version 1
		files = []string{"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}
	}
	// in waits until a container's cgroup has a limit of CPU, in microseconds of
	// 100 ms, and of memory, in bytes.
	in := func(container, cpu, memory string) *corev1.Pod {
		t.Helper()
		eventually(t, container+" has "+cpu+" and "+memory, func() (bool, string) {
			out, err := k.try("exec", "resized", "-c", container, "--", "cat", files[0], files[1])
			got := strings.Join(strings.Fields(strings.ReplaceAll(out, " 100000\n", "\n")), " ")
			return err == nil && got == cpu+" "+memory, out
		})
		return k.waitPod(t, "resized", "the resize is complete", func(p *corev1.Pod) bool {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress || c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
					return false
				}
			}
			return p.Status.ObservedGeneration == p.Generation
		})
	}
	in("main", "10000", "67108864")

	resize("containers", "main", `{"limits": {"cpu": "200m"}}`)
	p := in("main", "20000", "67108864")
	if s := p.Status.ContainerStatuses[0]; s.RestartCount != 0 || s.Resources.Limits.Cpu().String() != "200m" {
		t.Errorf("got %s", status(p))
	}
	resize("initContainers", "beside", `{"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"cpu": "20m", "memory": "48Mi"}}`)
	p = in("beside", "2000", "50331648")
	if s := p.Status.InitContainerStatuses[0]; s.RestartCount != 0 || s.Resources.Limits.Memory().String() != "48Mi" {
		t.Errorf("got %s", status(p))
	}
	resize("containers", "main", `{"limits": {"memory": "96Mi"}}`)
	p = in("main", "20000", "100663296")
	if s := p.Status.ContainerStatuses[0]; s.RestartCount != 1 {
		t.Errorf("memory needs a restart: %s", status(p))
	}
	contains(t, "a class that changes", k.fails(t, "patch", "pod/resized", "--subresource=resize", "-p",
		`{"spec": {"containers": [{"name": "main", "resources": {"requests": {"memory": "96Mi", "cpu": "200m"}}}]}}`), "Pod QOS Class may not change as a result of resizing")
	resize("initContainers", "beside", `{"requests": {"memory": "4Ki"}, "limits": {"memory": "4Ki"}}`)
	p = k.waitPod(t, "resized", "it is told that less memory than is used can't be had", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodResizeInProgress && c.Reason == corev1.PodReasonError && strings.Contains(c.Message, "below current usage")
		})
	})
	if has := p.Status.InitContainerStatuses[0].Resources.Limits.Memory().String(); has != "48Mi" {
		t.Errorf("it still has 48Mi, and says %s", has)
	}
	contains(t, "description", k.run(t, "describe", "pod/resized"), "ResizeStarted", "ResizeCompleted", "ResizeError", "resize requires restart", "PodResizeInProgress")
}

func debugged(t *testing.T, k *kubectl) {
	k.run(t, "run", "main", "--image="+tools, "--restart=Never", "--", "sleep")
	k.run(t, "wait", "pod/main", "--for=condition=Ready", "--timeout=90s")
	look := func(name string, args ...string) string {
		args = append([]string{"debug", "main", "--image=" + helloV1, "--container=" + name}, args...)
		k.run(t, append(args, "--", "cat", "/proc/1/cmdline")...)
		k.run(t, "wait", "pod/main", "--timeout=90s",
			`--for=jsonpath={.status.ephemeralContainerStatuses[?(@.name=="`+name+`")].state.terminated.exitCode}=0`)
		return strings.ReplaceAll(k.run(t, "logs", "main", "-c", name), "\x00", " ")
	}
	want(t, look("alone"), "cat /proc/1/cmdline ")
	contains(t, "the first process of the target", look("beside", "--target=main"), "sleep")
}
