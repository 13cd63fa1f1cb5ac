package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Images that every test may use.
const (
	helloV1 = "skiff.dev/hello:v1"
	helloV2 = "skiff.dev/hello:v2"
	// tools is nodeagent/runtime/runtimetest/program: eat, stubborn, count….
	tools = "skiff.dev/tools:v1"
)

// patience bounds every wait; a machine that is busy with other tests is slow.
const patience = 90 * time.Second

// shared is the cluster that all tests use.
var shared = &cluster{profile: "default"}

// cluster is a `skiff up` and its data.
type cluster struct {
	profile string

	mu     sync.Mutex
	loaded bool
	up     *process
}

func (c *cluster) dir() string        { return filepath.Join(os.Getenv(workDir), c.profile) }
func (c *cluster) kubeconfig() string { return c.dir() + ".conf" }

// process is a skiff that runs in the foreground.
type process struct {
	cmd   *exec.Cmd
	out   *output
	ended chan struct{}
	err   error
}

// output is what a process has printed so far.
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

func spawn(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	return spawnBy(t, cmd, (*exec.Cmd).Start)
}

func spawnBy(t testing.TB, cmd *exec.Cmd, start func(*exec.Cmd) error) *process {
	t.Helper()
	p := &process{cmd: cmd, out: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := start(cmd); err != nil {
		t.Fatalf("start %s: %v", cmd, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p
}

// signal sends a signal and waits for the end.
func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal %v to %s: %v", s, p.cmd, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s has not ended after %v; it said:\n%s", p.cmd, s, p.out)
	}
}

// skiff is a command line of skiff's that has not begun.
func skiff(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(binDir, "skiff"), args...)
	c.Env = append(os.Environ(), "HOME="+os.Getenv(workDir), "KUBECONFIG=")
	// What skiff starts in its own process group would get the terminal's
	// Ctrl-C as well.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

// start runs `skiff up` on the cluster's data until it says that it is ready.
func (c *cluster) start(t testing.TB, flags ...string) {
	t.Helper()
	c.up = spawn(t, skiff(append([]string{"up", "--profile", c.profile, "--data-dir", c.dir(), "--kubeconfig", c.kubeconfig()}, flags...)...))
	eventually(t, "skiff up is ready", func() (bool, string) {
		select {
		case <-c.up.ended:
			t.Fatalf("skiff up ended: %v\n%s%s", c.up.err, c.up.out, c.log())
		default:
		}
		return strings.Contains(c.up.out.String(), "Ready in "), c.up.out.String()
	})
}

// stop is Ctrl-C.
func (c *cluster) stop(t testing.TB) {
	t.Helper()
	c.up.signal(t, os.Interrupt)
	if c.up.err != nil {
		t.Errorf("skiff up ended with %v:\n%s", c.up.err, c.up.out)
	}
	c.up = nil
}

// load puts the tests' images into the cluster's node.
func (c *cluster) load(t testing.TB) {
	t.Helper()
	archives := []string{filepath.Join(binDir, "images/hello-v1.tar"), filepath.Join(binDir, "images/hello-v2.tar"), toolsArchive(t)}
	out, err := skiff(append([]string{"image", "load", "--profile", c.profile, "--data-dir", c.dir()}, archives...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skiff image load: %v\n%s", err, out)
	}
	c.loaded = true
}

var toolsArchive = func() func(testing.TB) string {
	var once sync.Once
	archive := ""
	return func(t testing.TB) string {
		t.Helper()
		once.Do(func() {
			program := filepath.Join(os.Getenv(workDir), "tools")
			build := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest/program")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build the tests' program: %v\n%s", err, out)
			}
			if out, err := skiff("image", "build", "-t", tools, "-o", program+".tar", program).CombinedOutput(); err != nil {
				t.Fatalf("build the tests' image: %v\n%s", err, out)
			}
			archive = program + ".tar"
		})
		if archive == "" {
			t.Fatal("the tests' image could not be built")
		}
		return archive
	}
}()

// end is for TestMain: the process namespace ends what does not obey.
func (c *cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up == nil {
		return
	}
	_ = c.up.cmd.Process.Signal(os.Interrupt)
	<-c.up.ended
	_ = skiff("delete", "--profile", c.profile, "--data-dir", c.dir()).Run()
}

// log is the end of what the cluster wrote to its log.
func (c *cluster) log() string {
	raw, err := os.ReadFile(filepath.Join(c.dir(), "skiff.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return "skiff.log ends with:\n" + strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// inside skips a test on a machine that can't run it.
func inside(t testing.TB) {
	t.Helper()
	if lacking != "" {
		t.Skip(lacking)
	}
}

// running gives the shared cluster, and starts it when it does not run.
func running(t testing.TB) *cluster {
	t.Helper()
	inside(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.up == nil {
		shared.start(t)
	}
	if !shared.loaded {
		shared.load(t)
	}
	return shared
}

// kubectl runs kubectl in one namespace of a cluster.
type kubectl struct {
	cluster   *cluster
	namespace string
}

// newNamespace makes a namespace that is deleted with the test. What it holds
// is told when the test fails.
func newNamespace(t *testing.T, c *cluster) *kubectl {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()))
	name = strings.Trim(name[max(0, len(name)-50):], "-")
	k := &kubectl{c, name}
	k.run(t, "create", "namespace", name)
	// Where other controllers led a moment ago their Lease has to end first.
	eventually(t, "the namespace has its service account", func() (bool, string) {
		_, err := k.client(t).CoreV1().ServiceAccounts(name).Get(context.Background(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "all", "-o", "wide"}, {"describe", "pods"}, {"events"}} {
				out, err := k.try(args...)
				t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			t.Log(c.log())
		}
		out, err := k.try("delete", "namespace", name, "--wait=false")
		if err != nil {
			t.Errorf("delete namespace: %v\n%s", err, out)
		}
	})
	return k
}

func (k *kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append([]string{"--kubeconfig", k.cluster.kubeconfig(), "--namespace", k.namespace}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "skiff-kubectl"), all...)
	cmd.Env = append(os.Environ(), "HOME="+os.Getenv(workDir))
	return cmd
}

// try runs kubectl and gives what it prints on both streams.
func (k *kubectl) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	out, err := k.command(ctx, args...).CombinedOutput()
	return string(out), err
}

// run runs kubectl, which must not fail, and gives its standard output.
func (k *kubectl) run(t testing.TB, args ...string) string {
	t.Helper()
	return k.runWith(t, nil, args...)
}

// apply gives a manifest to kubectl apply.
func (k *kubectl) apply(t testing.TB, manifest string) string {
	t.Helper()
	return k.runWith(t, func(c *exec.Cmd) { c.Stdin = strings.NewReader(manifest) }, "apply", "-f", "-")
}

func (k *kubectl) runWith(t testing.TB, change func(*exec.Cmd), args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := k.command(ctx, args...)
	if change != nil {
		change(cmd)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut.String())
	}
	return string(out)
}

// fails runs kubectl, which must fail, and gives what it says.
func (k *kubectl) fails(t testing.TB, args ...string) string {
	t.Helper()
	out, err := k.try(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("kubectl %s: got %v, want that it fails; it said:\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// waitPod waits with the API itself until a pod is as wanted.
func (k *kubectl) waitPod(t testing.TB, name, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var got *corev1.Pod
	eventually(t, fmt.Sprintf("pod %s %s", name, what), func() (bool, string) {
		pod, err := k.client(t).CoreV1().Pods(k.namespace).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		got = pod
		return is(pod), status(pod)
	})
	return got
}

// pods lists the pods that a selector chooses.
func (k *kubectl) pods(t testing.TB, selector string) []corev1.Pod {
	t.Helper()
	list, err := k.client(t).CoreV1().Pods(k.namespace).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatalf("list pods: %v", err)
	}
	return list.Items
}

func status(pod *corev1.Pod) string {
	raw, err := json.MarshalIndent(pod.Status, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// client reads what tests wait for; what they do, they do by kubectl.
func (k *kubectl) client(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", k.cluster.kubeconfig())
	if err != nil {
		t.Fatalf("kubeconfig: %v", err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	return client
}

// eventually waits for a condition; it gives up after patience and says what
// was seen last.
func eventually(t testing.TB, what string, condition func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting until %s; last seen:\n%s", what, seen)
		}
		<-tick.C
	}
}

// contains checks that text has every one of parts.
func contains(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s: got\n%s\nwant %q in it", what, text, p)
		}
	}
}
