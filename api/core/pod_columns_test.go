package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiffcluster/skiff/api"
)

// cells are an object's cells of the named columns.
func cells(t *testing.T, kind *api.Kind, obj runtime.Object, columns ...string) []string {
	t.Helper()
	all := kind.Cells(obj)
	var list []string
	for _, name := range columns {
		i := slices.IndexFunc(kind.Columns, func(c metav1.TableColumnDefinition) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("There is no column %s.", name)
		}
		list = append(list, fmt.Sprint(all[i]))
	}
	return list
}

func TestPodColumns(t *testing.T) {
	const (
		two     = `containers: [{name: a, image: i}, {name: b, image: i}]`
		running = `state: {running: {}}, ready: true`
	)
	for _, c := range []struct {
		name, pod               string
		ready, status, restarts string
	}{
		{"nothing is known", `{}`, "0/1", "", "0"},
		{"pending", `{status: {phase: Pending}}`, "0/1", "Pending", "0"},
		{"the pod's reason", `{status: {phase: Failed, reason: Evicted}}`, "0/1", "Evicted", "0"},
		{"behind a gate", `{status: {phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: SchedulingGated}]}}`, "0/1", "SchedulingGated", "0"},
		{"not scheduled", `{status: {phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable}]}}`, "0/1", "Pending", "0"},
		{"creating", `{status: {phase: Pending, containerStatuses: [{name: c, state: {waiting: {reason: ContainerCreating}}}]}}`, "0/1", "ContainerCreating", "0"},
		{"waiting for no reason", `{status: {phase: Pending, containerStatuses: [{name: c, state: {waiting: {}}}]}}`, "0/1", "Pending", "0"},
		{"no image", `{status: {phase: Pending, containerStatuses: [{name: c, state: {waiting: {reason: ImagePullBackOff}}}]}}`, "0/1", "ImagePullBackOff", "0"},
		{"running", `{status: {phase: Running, containerStatuses: [{name: c, ` + running + `}]}}`, "1/1", "Running", "0"},
		{"not ready", `{status: {phase: Running, containerStatuses: [{name: c, state: {running: {}}}]}}`, "0/1", "Running", "0"},
		{"restarted", `{status: {phase: Running, containerStatuses: [{name: c, restartCount: 3, ` + running + `}]}}`, "1/1", "Running", "3"},
		{"restarted long ago", `{status: {phase: Running, containerStatuses: [{name: c, restartCount: 3, lastState: {terminated: {finishedAt: AGO20h}}, ` + running + `}]}}`, "1/1", "Running", "3 (20h ago)"},
		{"the last restart counts", `{spec: {` + two + `}, status: {phase: Running, containerStatuses: [
			{name: a, restartCount: 1, lastState: {terminated: {finishedAt: AGO20h}}, ` + running + `},
			{name: b, restartCount: 2, lastState: {terminated: {finishedAt: AGO3d}}, ` + running + `}]}}`, "2/2", "Running", "3 (20h ago)"},
		{"an end that was no restart", `{status: {phase: Running, containerStatuses: [{name: c, lastState: {terminated: {finishedAt: AGO20h}}, ` + running + `}]}}`, "1/1", "Running", "0"},
		{"crashing", `{status: {phase: Running, containerStatuses: [{name: c, restartCount: 2, state: {waiting: {reason: CrashLoopBackOff}}}]}}`, "0/1", "CrashLoopBackOff", "2"},
		{"done", `{status: {phase: Succeeded, containerStatuses: [{name: c, state: {terminated: {exitCode: 0, reason: Completed}}}]}}`, "0/1", "Completed", "0"},
		{"failed", `{status: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 1, reason: Error}}}]}}`, "0/1", "Error", "0"},
		{"a number", `{status: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 7}}}]}}`, "0/1", "ExitCode:7", "0"},
		{"a signal", `{status: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 137, signal: 9}}}]}}`, "0/1", "Signal:9", "0"},
		{"the first container's reason counts", `{spec: {` + two + `}, status: {phase: Running, containerStatuses: [
			{name: a, state: {terminated: {exitCode: 1, reason: Error}}}, {name: b, state: {waiting: {reason: CrashLoopBackOff}}}]}}`, "0/2", "Error", "0"},
		{"one runs and one is done", `{spec: {` + two + `}, status: {phase: Running, conditions: [{type: Ready, status: "False"}], containerStatuses: [
			{name: a, ` + running + `}, {name: b, state: {terminated: {exitCode: 0, reason: Completed}}}]}}`, "1/2", "NotReady", "0"},
		{"one runs and one is done and the pod is ready", `{spec: {` + two + `}, status: {phase: Running, conditions: [{type: Ready, status: "True"}], containerStatuses: [
			{name: a, ` + running + `}, {name: b, state: {terminated: {exitCode: 0, reason: Completed}}}]}}`, "1/2", "Running", "0"},

		{"ending", `{metadata: {deletionTimestamp: AGO20h}, status: {phase: Running, containerStatuses: [{name: c, ` + running + `}]}}`, "1/1", "Terminating", "0"},
		{"ended", `{metadata: {deletionTimestamp: AGO20h}, status: {phase: Succeeded, containerStatuses: [{name: c, state: {terminated: {exitCode: 0, reason: Completed}}}]}}`, "0/1", "Completed", "0"},
		{"lost", `{metadata: {deletionTimestamp: AGO20h}, status: {phase: Running, reason: NodeLost}}`, "0/1", "Unknown", "0"},
		{"its node is lost", `{status: {phase: Running, reason: NodeLost}}`, "0/1", "NodeLost", "0"},

		{"the first of two init containers", initPod(two, "", "", `{waiting: {reason: PodInitializing}}`, `{waiting: {reason: PodInitializing}}`), "0/2", "Init:0/2", "0"},
		{"the second of two init containers", initPod(two, "", "", `{terminated: {exitCode: 0}}`, `{running: {}}`), "0/2", "Init:1/2", "0"},
		{"an init container crashes", initPod(two, "", "", `{waiting: {reason: CrashLoopBackOff}}`, `{waiting: {reason: PodInitializing}}`), "0/2", "Init:CrashLoopBackOff", "0"},
		{"an init container failed", initPod(two, "", "", `{terminated: {exitCode: 1, reason: Error}}`, `{}`), "0/2", "Init:Error", "0"},
		{"an init container's number", initPod(two, "", "", `{terminated: {exitCode: 4}}`, `{}`), "0/2", "Init:ExitCode:4", "0"},
		{"an init container's signal", initPod(two, "", "", `{terminated: {exitCode: 4, signal: 9}}`, `{}`), "0/2", "Init:Signal:9", "0"},
		{"init containers are done", initPod(two, "", "", `{terminated: {exitCode: 0}}`, `{terminated: {exitCode: 0}}`), "0/2", "PodInitializing", "0"},
		{"a sidecar has not started", initPod(two, "restartPolicy: Always, ", "restartCount: 2, ", `{running: {}}`, `{waiting: {reason: PodInitializing}}`), "0/3", "Init:0/2", "2"},
		{"a sidecar has started", initPod(two, "restartPolicy: Always, ", "started: true, ready: true, restartCount: 2, ", `{running: {}}`, `{terminated: {exitCode: 0}}`), "1/3", "PodInitializing", "2"},
		{"init containers' restarts count until they are done", `{spec: {initContainers: [{name: x, image: i}]}, status: {phase: Pending, initContainerStatuses: [
			{name: x, restartCount: 4, state: {running: {}}}], containerStatuses: [{name: c, restartCount: 1, state: {waiting: {reason: PodInitializing}}}]}}`, "0/1", "Init:0/1", "4"},
		{"init containers' restarts do not count afterwards", `{spec: {initContainers: [{name: x, image: i}]}, status: {phase: Running, initContainerStatuses: [
			{name: x, restartCount: 4, state: {terminated: {exitCode: 0}}}], containerStatuses: [{name: c, restartCount: 1, ` + running + `}]}}`, "1/1", "Running", "1"},
		{"an initialized pod's sidecar crashes", `{spec: {initContainers: [{name: x, image: i, restartPolicy: Always}]}, status: {phase: Running,
			conditions: [{type: Initialized, status: "True"}], initContainerStatuses: [{name: x, restartCount: 4, lastState: {terminated: {finishedAt: AGO3d}}, state: {waiting: {reason: CrashLoopBackOff}}}],
			containerStatuses: [{name: c, restartCount: 1, lastState: {terminated: {finishedAt: AGO20h}}, ` + running + `}]}}`, "1/2", "Init:CrashLoopBackOff", "5 (20h ago)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, withAges(c.pod))
			same(t, cells(t, podKind, p, "Ready", "Status", "Restarts"), []string{c.ready, c.status, c.restarts})
		})
	}
}

// withAges puts times for what is said to be some time ago.
func withAges(text string) string {
	return strings.NewReplacer("AGO20h", ago(20*time.Hour+time.Minute), "AGO3d", ago(72*time.Hour)).Replace(text)
}

// ago is a time in YAML.
func ago(d time.Duration) string { return `"` + time.Now().Add(-d).UTC().Format(time.RFC3339) + `"` }

// initPod has two init containers, of which the first has parts, with states.
func initPod(containers, parts, status, first, second string) string {
	return `{spec: {` + containers + `, initContainers: [{name: x, ` + parts + `image: i}, {name: z, image: i}]}, status: {phase: Pending,
		initContainerStatuses: [{name: x, ` + status + `state: ` + first + `}, {name: z, state: ` + second + `}],
		containerStatuses: [{name: a, state: {waiting: {reason: PodInitializing}}}, {name: b, state: {waiting: {reason: PodInitializing}}}]}}`
}

func TestWidePodColumns(t *testing.T) {
	wide := []string{"Name", "IP", "Node", "Nominated Node", "Readiness Gates"}
	same(t, cells(t, podKind, pod(t, `{}`), wide...), []string{"pod", "<none>", "<none>", "<none>", "<none>"})
	full := pod(t, `{spec: {nodeName: node, readinessGates: [{conditionType: a}, {conditionType: b}, {conditionType: c}]},
		status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}], nominatedNodeName: other,
		conditions: [{type: a, status: "True"}, {type: b, status: "False"}]}}`)
	same(t, cells(t, podKind, full, wide...), []string{"pod", "10.0.0.1", "node", "other", "1/3"})
	var names []string
	for _, c := range podKind.Columns {
		names = append(names, fmt.Sprint(c.Name, " ", c.Priority))
		if c.Description == "" {
			t.Errorf("Column %s has no description.", c.Name)
		}
	}
	same(t, names, []string{"Name 0", "Ready 0", "Status 0", "Restarts 0", "Age 0", "IP 1", "Node 1", "Nominated Node 1", "Readiness Gates 1"})
}

func TestPodAge(t *testing.T) {
	made := metav1.NewTime(time.Now().Add(-time.Hour))
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: made}}
	if got := podKind.Cells(p)[4]; got != any(made) {
		t.Errorf("The age is of %v, want %v.", got, made)
	}
}
