package nodeagent_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/internal/roomtest"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/nodeagent/runtime/containerd"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
)

// testNode is an agent that can be stopped and started again.
type testNode struct {
	*nodeagent.Agent
	cfg  nodeagent.Config
	stop func()
}

func start(t *testing.T, cfg nodeagent.Config) *testNode {
	t.Helper()
	a, err := nodeagent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &testNode{Agent: a, cfg: cfg, stop: roomtest.Run(t, a)}
}

func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(30 * time.Second); ; {
		done, state := ok()
		if done {
			return
		}
		last = state
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 seconds; %s", what, last)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func newPod(name, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			AutomountServiceAccountToken:  new(false),
			TerminationGracePeriodSeconds: new(int64(5)),
			Containers:                    []corev1.Container{{Name: "main", Image: runtimetest.ImageName, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func args(a ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Args = a }
}

func waitPod(t *testing.T, c client.Client, pod *corev1.Pod, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	got := &corev1.Pod{}
	eventually(t, what, func() (bool, string) {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), got); err != nil {
			return false, err.Error()
		}
		return ok(got), fmt.Sprintf("status is %+v", got.Status)
	})
	return got
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// deleteAndWait deletes a pod and waits until it is gone from the API.
func deleteAndWait(t *testing.T, c client.Client, pod *corev1.Pod) {
	t.Helper()
	if err := c.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pod is deleted", func() (bool, string) {
		got := &corev1.Pod{}
		err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), got)
		return apierrors.IsNotFound(err), fmt.Sprintf("%v, status is %+v", err, got.Status)
	})
}

func ensureServiceAccount(t *testing.T, c client.Client) {
	t.Helper()
	err := c.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func simulatedNode(t *testing.T, c *clustertest.Cluster, name string) *testNode {
	return start(t, nodeagent.Config{
		REST: c.RESTConfig(), NodeName: name, Runtime: simulated.New(nil), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
	})
}

func TestSimulatedPodLives(t *testing.T) {
	c := clustertest.APIServer(t)
	ensureServiceAccount(t, c.Client())
	simulatedNode(t, c, "sim")
	pod := newPod("web", "sim")
	create(t, c.Client(), pod)
	got := waitPod(t, c.Client(), pod, "pod is ready", isReady)
	if got.Status.Phase != corev1.PodRunning || got.Status.PodIP == "" || !strings.HasPrefix(got.Status.ContainerStatuses[0].ContainerID, "simulated://") {
		t.Errorf("got %+v", got.Status)
	}
	deleteAndWait(t, c.Client(), pod)
}

func TestSimulatedJobPodSucceeds(t *testing.T) {
	c := clustertest.APIServer(t)
	ensureServiceAccount(t, c.Client())
	simulatedNode(t, c, "sim")
	pod := newPod("job", "sim", func(p *corev1.Pod) {
		p.Annotations = map[string]string{simulated.RunForAnnotation: "1ms"}
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "x"}}
	})
	create(t, c.Client(), pod)
	got := waitPod(t, c.Client(), pod, "pod succeeds", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if end := got.Status.ContainerStatuses[0].State.Terminated; end == nil || end.Reason != "Completed" {
		t.Errorf("got %+v", got.Status)
	}
}

func TestNodeIsRegistered(t *testing.T) {
	c := clustertest.APIServer(t)
	simulatedNode(t, c, "sim")
	node := &corev1.Node{}
	eventually(t, "node is ready", func() (bool, string) {
		if err := c.Client().Get(t.Context(), client.ObjectKey{Name: "sim"}, node); err != nil {
			return false, err.Error()
		}
		for _, cond := range node.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
				return cond.Reason == "KubeletReady", ""
			}
		}
		return false, fmt.Sprintf("%+v", node.Status.Conditions)
	})
	if node.Labels[corev1.LabelHostname] != "sim" || node.Status.Capacity.Pods().Value() != 110 || node.Status.NodeInfo.KubeletVersion == "" {
		t.Errorf("got %+v", node)
	}
}

func TestPodThatDoesNotFitIsRejected(t *testing.T) {
	c := clustertest.APIServer(t)
	ensureServiceAccount(t, c.Client())
	simulatedNode(t, c, "sim")
	pod := newPod("big", "sim", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *metav1Quantity("100000")}
	})
	create(t, c.Client(), pod)
	got := waitPod(t, c.Client(), pod, "pod is rejected", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if got.Status.Reason != "OutOfcpu" || !strings.HasPrefix(got.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: 100000000, used: 0") {
		t.Errorf("got %q, %q", got.Status.Reason, got.Status.Message)
	}
}

// realNode starts an agent with a containerd of its own.
func realNode(t *testing.T, c *clustertest.Cluster) *testNode {
	t.Helper()
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	if _, err := os.Stat(filepath.Join(bin, "containerd")); err != nil {
		t.Skip("no containerd: run hack/containerd.sh")
	}
	dir, err := os.MkdirTemp("", "node") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	cfg := nodeagent.Config{
		REST: c.RESTConfig(), NodeName: "real", DataDir: dir, BinDir: bin, CgroupRoot: "skiff-test/" + filepath.Base(dir),
		BridgeName: "skt" + filepath.Base(dir)[4:10], PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.231.0.0/24")}, ClusterDNS: []string{"10.96.0.10"},
	}
	t.Cleanup(func() {
		if err := nodeagent.Destroy(context.Background(), cfg); err != nil {
			t.Errorf("destroy node: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	n := start(t, cfg)
	importImage(t, dir)
	return n
}

// importImage puts the test image into a node's containerd.
func importImage(t *testing.T, dir string) {
	t.Helper()
	rt, err := containerd.New(containerd.Config{Address: filepath.Join(dir, "run/containerd.sock"), RunDir: t.TempDir(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.ImportImages(t.Context(), runtimetest.Image(t, runtimetest.ImageName)); err != nil {
		t.Fatal(err)
	}
}

func events(t *testing.T, c *clustertest.Cluster, pod *corev1.Pod) string {
	t.Helper()
	k, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	list, err := k.CoreV1().Events(pod.Namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&out, "%s %s %s: %s\n", e.Type, e.InvolvedObject.FieldPath, e.Reason, e.Message)
	}
	return out.String()
}

func TestRealPods(t *testing.T) {
	c := clustertest.APIServer(t)
	ensureServiceAccount(t, c.Client())
	n := realNode(t, c)
	k := c.Client()

	t.Run("a pod runs, is told of in events, and is deleted", func(t *testing.T) {
		pod := newPod("web", "real", args("serve", "8080", "hello"))
		began := time.Now()
		create(t, k, pod)
		got := waitPod(t, k, pod, "pod is ready", isReady)
		t.Logf("create to ready: %v", time.Since(began))
		if got.Status.PodIP == "" || got.Status.HostIP == "" || got.Status.StartTime == nil || !strings.HasPrefix(got.Status.ContainerStatuses[0].ContainerID, "containerd://") {
			t.Errorf("got %+v", got.Status)
		}
		eventually(t, "events are there", func() (bool, string) {
			e := events(t, c, pod)
			return strings.Contains(e, `Normal spec.containers{main} Started: Container started`), e
		})
		deleteAndWait(t, k, pod)
	})
	t.Run("init containers run in order and a failed container is restarted", func(t *testing.T) {
		pod := newPod("init", "real", args("exit", "3"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "one", Image: runtimetest.ImageName, Args: []string{"echo", "one"}},
				{Name: "two", Image: runtimetest.ImageName, Args: []string{"echo", "two"}},
			}
		})
		create(t, k, pod)
		got := waitPod(t, k, pod, "it is in back-off", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
				p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
		})
		st := got.Status.ContainerStatuses[0]
		if st.RestartCount != 1 || st.LastTerminationState.Terminated == nil || st.LastTerminationState.Terminated.ExitCode != 3 ||
			!strings.HasPrefix(st.State.Waiting.Message, "back-off 10s restarting failed container=main pod=init_default(") {
			t.Errorf("got %+v", st)
		}
		for _, s := range got.Status.InitContainerStatuses {
			if s.State.Terminated == nil || s.State.Terminated.Reason != "Completed" || !s.Ready {
				t.Errorf("init container: got %+v", s)
			}
		}
		deleteAndWait(t, k, pod)
	})
	t.Run("a pod that completes has succeeded and leaves its message", func(t *testing.T) {
		pod := newPod("once", "real", args("write", "/dev/termination-log", "done well"), func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		create(t, k, pod)
		got := waitPod(t, k, pod, "it succeeds", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
		if end := got.Status.ContainerStatuses[0].State.Terminated; end.Reason != "Completed" || end.Message != "done well" {
			t.Errorf("got %+v", end)
		}
		deleteAndWait(t, k, pod)
	})
	t.Run("a command that does not exist is a start error", func(t *testing.T) {
		pod := newPod("bad", "real", func(p *corev1.Pod) {
			p.Spec.Containers[0].Command = []string{"/none"}
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
		})
		create(t, k, pod)
		got := waitPod(t, k, pod, "it fails", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		if end := got.Status.ContainerStatuses[0].State.Terminated; end.Reason != "StartError" || end.ExitCode != 128 || !strings.Contains(end.Message, "no such file or directory") {
			t.Errorf("got %+v", end)
		}
		deleteAndWait(t, k, pod)
	})
	t.Run("an image that is not there can't be pulled", func(t *testing.T) {
		pod := newPod("noimage", "real", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "localhost:1/none:1" })
		create(t, k, pod)
		waitPod(t, k, pod, "it waits with back-off", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ImagePullBackOff"
		})
		deleteAndWait(t, k, pod)
	})
	t.Run("an image is mounted as a volume", func(t *testing.T) {
		pod := newPod("imagevolume", "real", args("cat", "/image/group"), func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Volumes = []corev1.Volume{{Name: "image", VolumeSource: corev1.VolumeSource{
				Image: &corev1.ImageVolumeSource{Reference: runtimetest.ImageName, PullPolicy: corev1.PullNever},
			}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "image", MountPath: "/image", SubPath: "etc"}}
		})
		create(t, k, pod)
		waitPod(t, k, pod, "it has read the image", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
		deleteAndWait(t, k, pod)
	})
	t.Run("an image of a volume that is not there can't be pulled", func(t *testing.T) {
		pod := newPod("novolume", "real", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "image", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "localhost:1/none:1"}}},
				{Name: "unused", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "localhost:1/unused:1"}}},
			}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "image", MountPath: "/image"}}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "beside", Image: runtimetest.ImageName, ImagePullPolicy: corev1.PullIfNotPresent})
		})
		create(t, k, pod)
		waitPod(t, k, pod, "the container that mounts it waits, and the other runs", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 2 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ImagePullBackOff" && s[1].State.Running != nil &&
				strings.HasPrefix(s[0].State.Waiting.Message, `Back-off pulling image "localhost:1/none:1": ErrImagePull: `)
		})
		eventually(t, "events say which image and which container", func() (bool, string) {
			e := events(t, c, pod)
			return strings.Contains(e, `Normal  Pulling: Pulling image "localhost:1/none:1"`) &&
				strings.Contains(e, `Warning  Failed: Failed to pull image "localhost:1/none:1": `) &&
				strings.Contains(e, "Warning spec.containers{main} Failed: Error: ErrImagePull") &&
				strings.Contains(e, `Normal  BackOff: Back-off pulling image "localhost:1/none:1"`) && !strings.Contains(e, "unused"), e
		})
		deleteAndWait(t, k, pod)
	})
	t.Run("a missing ConfigMap is waited for", func(t *testing.T) {
		pod := newPod("config", "real", func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "config"}, Key: "a",
			}}}}
		})
		create(t, k, pod)
		waitPod(t, k, pod, "it waits", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError" &&
				s[0].State.Waiting.Message == `configmap "config" not found`
		})
		create(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config", Namespace: "default"}, Data: map[string]string{"a": "b"}})
		waitPod(t, k, pod, "it runs", isReady)
		deleteAndWait(t, k, pod)
	})
	t.Run("the agent's restart disturbs no pod", func(t *testing.T) {
		pod := newPod("stay", "real", args("count", "20ms"))
		gone := newPod("gone", "real")
		create(t, k, pod)
		create(t, k, gone)
		before := waitPod(t, k, pod, "pod is ready", isReady)
		waitPod(t, k, gone, "pod is ready", isReady)
		n.stop()
		if err := k.Delete(t.Context(), gone, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
		n = start(t, n.cfg)
		after := waitPod(t, k, pod, "pod is ready", isReady)
		if a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || b.RestartCount != 0 ||
			!a.State.Running.StartedAt.Equal(&b.State.Running.StartedAt) || before.Status.PodIP != after.Status.PodIP {
			t.Errorf("before %+v, after %+v", a, b)
		}
		eventually(t, "what is left of the deleted pod is removed", func() (bool, string) {
			entries, err := os.ReadDir(filepath.Join(n.cfg.DataDir, "runtime/sandboxes"))
			return err == nil && len(entries) == 1, fmt.Sprint(entries, err)
		})
		deleteAndWait(t, k, pod)
	})
}

func metav1Quantity(s string) *resource.Quantity { return new(resource.MustParse(s)) }
