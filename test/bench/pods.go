package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiffcluster/skiff/test/bench/load"
)

// podFigures are of real containers on this machine; they need root.
func podFigures() []figure {
	return []figure{
		{"skiff up to first pod answering through its Service", "< 2 s", firstAnswer},
		{"pod bound to Running seen in the API, real, p50 / p99", "< 100 ms", bindToRunning},
		{"memory for each idle pod, real", "< 2 MB", memoryPerPod},
		{"whole cluster with 5 idle pods: CPU, memory", "< 1 % of a core", wholeCluster},
	}
}

const image = "skiff.dev/hello:v1"

// upCluster is a `skiff up` with real containers.
type upCluster struct {
	cmd  *exec.Cmd
	dir  string
	out  *bytes.Buffer
	kube *kubernetes.Clientset
	pods int // made by running
}

// prepareUp starts a cluster in a new directory and gives it the image.
func prepareUp(ctx context.Context) (*upCluster, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("needs root")
	}
	dir, err := os.MkdirTemp("", "skiff-bench-")
	if err != nil {
		return nil, err
	}
	u := &upCluster{dir: dir}
	if err := u.start(ctx); err != nil {
		u.remove()
		return nil, err
	}
	out, err := exec.Command(filepath.Join("bin", "skiff"), "image", "load", "--profile", "bench", "--data-dir", u.data(), "bin/images/hello-v1.tar").CombinedOutput()
	if err != nil {
		u.remove()
		return nil, fmt.Errorf("load the image: %w: %s", err, out)
	}
	return u, nil
}

func (u *upCluster) data() string { return filepath.Join(u.dir, "data") }

// start runs `skiff up` and returns when the API answers and pods can be made.
func (u *upCluster) start(ctx context.Context) error {
	kubeconfig := filepath.Join(u.dir, "kubeconfig")
	_ = os.Remove(kubeconfig)
	u.out = &bytes.Buffer{}
	u.cmd = exec.Command(filepath.Join("bin", "skiff"), "up", "--profile", "bench", "--data-dir", u.data(), "--kubeconfig", kubeconfig, "--secure-port", port)
	u.cmd.Stdout, u.cmd.Stderr = u.out, u.out
	if err := u.cmd.Start(); err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(time.Millisecond) {
		cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			continue
		}
		cfg.QPS = -1
		if u.kube, err = kubernetes.NewForConfig(cfg); err != nil {
			return err
		}
		if _, err := u.kube.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err == nil {
			return nil
		}
	}
	return fmt.Errorf("not up within a minute: %s", u.out)
}

func (u *upCluster) stop() {
	_ = u.cmd.Process.Signal(syscall.SIGINT)
	_ = u.cmd.Wait()
}

func (u *upCluster) remove() {
	u.stop()
	_ = exec.Command(filepath.Join("bin", "skiff"), "delete", "--profile", "bench", "--data-dir", u.data()).Run()
	_ = os.RemoveAll(u.dir)
}

func (u *upCluster) pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{Name: "hello", Image: image, ImagePullPolicy: corev1.PullNever}},
		},
	}
}

func (u *upCluster) node(ctx context.Context) (string, error) {
	l, err := u.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil || len(l.Items) != 1 {
		return "", fmt.Errorf("%d nodes: %w", len(l.Items), err)
	}
	return l.Items[0].Name, nil
}

// firstAnswer is from the exec of `skiff up`, on a directory that has the
// image and no pods, to an answer by a pod through its Service.
func firstAnswer(ctx context.Context) (string, error) {
	u, err := prepareUp(ctx)
	if err != nil {
		return "", err
	}
	defer u.remove()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return repeat(5, func() (time.Duration, error) {
		u.stop()
		begin := time.Now()
		if err := u.start(ctx); err != nil {
			return 0, err
		}
		if _, err := u.kube.CoreV1().Pods("default").Create(ctx, u.pod("first", ""), metav1.CreateOptions{}); err != nil {
			return 0, err
		}
		s, err := u.kube.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "first"},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": "bench"},
				Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return 0, err
		}
		for time.Since(begin) < time.Minute {
			resp, err := client.Get("http://" + s.Spec.ClusterIP)
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			took := time.Since(begin)
			return took, errors.Join(u.kube.CoreV1().Services("default").Delete(ctx, "first", metav1.DeleteOptions{}), u.delete(ctx, "first"))
		}
		return 0, errors.New("no answer within a minute")
	})
}

// delete removes a pod and waits until it is gone.
func (u *upCluster) delete(ctx context.Context, name string) error {
	if err := u.kube.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if _, err := u.kube.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil
		}
	}
	return fmt.Errorf("pod %s is not gone within a minute", name)
}

// bindToRunning makes pods that are bound from their creation on, one after
// the other, so that no scheduler is in the way.
func bindToRunning(ctx context.Context) (string, error) {
	u, err := prepareUp(ctx)
	if err != nil {
		return "", err
	}
	defer u.remove()
	node, err := u.node(ctx)
	if err != nil {
		return "", err
	}
	w, err := u.kube.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	defer w.Stop()
	var all []time.Duration
	for i := range 50 {
		name := fmt.Sprintf("p-%d", i)
		begin := time.Now()
		if _, err := u.kube.CoreV1().Pods("default").Create(ctx, u.pod(name, node), metav1.CreateOptions{}); err != nil {
			return "", err
		}
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok && p.Name == name && p.Status.Phase == corev1.PodRunning {
				break
			}
		}
		all = append(all, time.Since(begin))
		if err := u.delete(ctx, name); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s / %s", ms(quantile(all, 0.5)), ms(quantile(all, 0.99))), nil
}

// running makes pods until there are n, and waits until they run.
func (u *upCluster) running(ctx context.Context, n int) error {
	for ; u.pods < n; u.pods++ {
		if _, err := u.kube.CoreV1().Pods("default").Create(ctx, u.pod(fmt.Sprintf("idle-%d", u.pods), ""), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(20 * time.Millisecond) {
		l, err := u.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			return err
		}
		if len(l.Items) == n {
			return nil
		}
	}
	return fmt.Errorf("%d pods do not run within a minute", n)
}

// memoryPerPod is what 30 more pods cost a node that has run ten already: what
// belongs to skiff, its containerd and shims, and not what runs in the
// containers. What the first pods need once, of the heap and of the program's
// pages, is not a pod's.
func memoryPerPod(ctx context.Context) (string, error) {
	u, err := prepareUp(ctx)
	if err != nil {
		return "", err
	}
	defer u.remove()
	const first, more = 10, 30
	var used [2]int
	for i, pods := range []int{first, first + more} {
		if err := u.running(ctx, pods); err != nil {
			return "", err
		}
		time.Sleep(10 * time.Second)
		used[i] = u.memory()
	}
	return fmt.Sprintf("%.1f MB", float64(used[1]-used[0])/1024/more), nil
}

func wholeCluster(ctx context.Context) (string, error) {
	u, err := prepareUp(ctx)
	if err != nil {
		return "", err
	}
	defer u.remove()
	if err := u.running(ctx, 5); err != nil {
		return "", err
	}
	time.Sleep(20 * time.Second)
	const window = 60 * time.Second
	before := u.cpu()
	time.Sleep(window)
	return fmt.Sprintf("%.2f %%, %d MB", float64(u.cpu()-before)/float64(window)*100, u.memory()/1024), nil
}

// own are the processes of the cluster, without those in containers: skiff,
// its containerd and its shims, which all name the data directory.
func (u *upCluster) own() []int {
	var out []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		raw, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(raw, []byte(u.dir)) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// memory is the processes' share of the machine's memory (PSS), kB.
func (u *upCluster) memory() int {
	sum := 0
	for _, pid := range u.own() {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)) // it may be gone
		for line := range strings.Lines(string(raw)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
				sum += kb
			}
		}
	}
	return sum
}

func (u *upCluster) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range u.own() {
		used, _ := load.ProcessCPU(pid) // it may be gone
		sum += used
	}
	return sum
}
