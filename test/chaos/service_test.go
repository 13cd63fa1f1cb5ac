package chaos_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/test/namespaces"
)

const (
	// perWorker is how many connections each worker keeps to the service: the
	// proxier spreads them over the workers with its pods.
	perWorker = 6
	// askEvery is the time between two requests on a connection.
	askEvery = 200 * time.Millisecond
	// connectTimeout bounds a new connection, which may be to a machine that is
	// dead and still an endpoint; askTimeout is after how long without an answer
	// a connection is lost. TCP gives up much later, a busy machine answers
	// much sooner.
	connectTimeout, askTimeout = 2 * time.Second, 30 * time.Second
)

var webLabels = map[string]string{"app": "web"}

// service makes a service with a pod on each worker, which says where it is, and
// waits until all are ready.
func (c *skiffCluster) service(t *testing.T, k kubernetes.Interface) (address string) {
	t.Helper()
	if out, err := asSelf("image", "load", "--profile", profile, "--data-dir", c.dir, filepath.Join(namespaces.Bin(), image)).CombinedOutput(); err != nil {
		t.Fatalf("skiff image load: %v\n%s", err, out)
	}
	second := int64(1)
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: webLabels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: webLabels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &second,
					Containers: []corev1.Container{{
						Name: "web", Image: "skiff.dev/hello:v1",
						Env:            []corev1.EnvVar{{Name: "GREETING", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}},
						ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1},
					}},
				},
			},
		},
	}
	if _, err := k.AppsV1().DaemonSets("default").Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := k.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: webLabels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.workers {
		eventually(t, "the service has a pod on "+w.name, func(ctx context.Context) error { return podReady(ctx, k, w, "") })
	}
	return net.JoinHostPort(s.Spec.ClusterIP, "80")
}

// podOn is the service's pod on a worker.
func podOn(ctx context.Context, k kubernetes.Interface, w *worker) (*corev1.Pod, error) {
	pods, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web", FieldSelector: "spec.nodeName=" + w.name})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil && len(pods.Items[i].Status.ContainerStatuses) == 1 {
			return &pods.Items[i], nil
		}
	}
	return nil, fmt.Errorf("%s has no pod that runs", w.name)
}

// podReady says why a worker's pod is not ready in another container than was.
// One that waits before its next start is deleted: that is for pods which are
// at fault.
func podReady(ctx context.Context, k kubernetes.Interface, w *worker, was string) error {
	p, err := podOn(ctx, k, w)
	if err != nil {
		return err
	}
	s := p.Status.ContainerStatuses[0]
	if s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" {
		if err := k.CoreV1().Pods("default").Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	if !s.Ready || s.ContainerID == was {
		return fmt.Errorf("pod %s on %s is not ready, or is what it was: %+v", p.Name, w.name, s)
	}
	return nil
}

// loss is a connection that ended.
type loss struct {
	from, to string // workers; to is empty when it had no answer yet
	at       time.Time
	err      error
}

func (l loss) String() string {
	return fmt.Sprintf("%s to %s at %s: %v", l.from, l.to, l.at.Format("15:04:05.000"), l.err)
}

// touches says whether the connection was through a worker.
func (l loss) touches(w *worker) bool { return w != nil && (l.from == w.name || l.to == w.name) }

// flows are connections to the service, a few from each worker's host.
type flows struct {
	mu      sync.Mutex
	each    []*flow
	lost    []loss
	refused int // connections that were never there
	turn    int // connections of an earlier one end by themselves
}

// flow is one, made again when it ends.
type flow struct {
	from, to string
	answered time.Time     // last
	longest  time.Duration // time to an answer since reset
}

// start keeps the connections until ctx ends.
func (f *flows) start(ctx context.Context, c *skiffCluster, address string) *sync.WaitGroup {
	group := &sync.WaitGroup{}
	for _, w := range c.workers {
		for range perWorker {
			one := &flow{from: w.name}
			f.each = append(f.each, one)
			group.Go(func() {
				for ctx.Err() == nil {
					f.once(ctx, w, one, address)
				}
			})
		}
	}
	return group
}

// once is the life of a connection.
func (f *flows) once(ctx context.Context, w *worker, one *flow, address string) {
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	conn, err := w.dial(connecting, address)
	cancel()
	if err != nil {
		f.mu.Lock()
		f.refused++
		f.mu.Unlock()
		pause(ctx, askEvery)
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	answers := bufio.NewReader(conn)
	f.mu.Lock()
	one.to = ""
	turn := f.turn
	f.mu.Unlock()
	for old := false; !old; {
		begin := time.Now()
		to, err := ask(conn, answers)
		if ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		switch {
		case err == nil:
			one.to, one.answered, one.longest = to, time.Now(), max(one.longest, time.Since(begin))
		case one.to == "":
			f.refused++
		default:
			f.lost = append(f.lost, loss{one.from, one.to, time.Now(), err})
		}
		if old = turn != f.turn; old {
			one.to = ""
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
		pause(ctx, askEvery)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ask makes one request and gives the worker that answers.
func ask(conn net.Conn, answers *bufio.Reader) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(answers, nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	worker, _, ok := strings.Cut(string(body), " from ")
	if !ok {
		return "", fmt.Errorf("the answer is %q", body)
	}
	return worker, nil
}

// spread has all connections made anew, until each worker's pod serves some of
// other workers.
func (f *flows) spread(t *testing.T, c *skiffCluster) {
	t.Helper()
	for all := false; !all; {
		f.mu.Lock()
		f.turn++
		for _, one := range f.each {
			one.to = ""
		}
		f.mu.Unlock()
		eventually(t, "all are connected to the service", func(context.Context) error { return f.connected() })
		all = true
		for _, w := range c.workers {
			all = all && f.to(w) > 0
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.each {
		one.longest = 0
	}
	f.refused = 0
}

func (f *flows) connected() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.each {
		if one.to == "" {
			return fmt.Errorf("%s waits for a connection", one.from)
		}
	}
	return nil
}

// to is how many connections other workers have to a worker's pod.
func (f *flows) to(w *worker) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, one := range f.each {
		if one.to == w.name && one.from != w.name {
			n++
		}
	}
	return n
}

// well says which connection has had no answer since a time.
func (f *flows) well(since time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.each {
		if !one.answered.After(since) {
			return fmt.Errorf("a connection of %s (to %q) has had no answer for %s", one.from, one.to, time.Since(one.answered))
		}
	}
	return nil
}

// fates are the connections that were lost since a time: of the worker that was
// in trouble, if one was, and others.
func (f *flows) fates(since time.Time, w *worker) (its, others []loss) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lost {
		switch {
		case l.at.Before(since):
		case l.touches(w):
			its = append(its, l)
		default:
			others = append(others, l)
		}
	}
	return its, others
}

// through is how many connections are of a worker or to its pod.
func (f *flows) through(w *worker) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, one := range f.each {
		if (loss{from: one.from, to: one.to}).touches(w) {
			n++
		}
	}
	return n
}

// slowest is the longest time to an answer on a connection that is not through
// a worker, and how many connections there never were, since reset.
func (f *flows) slowest(w *worker) (longest time.Duration, refused int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.each {
		if !(loss{from: one.from, to: one.to}).touches(w) {
			longest = max(longest, one.longest)
		}
	}
	return longest, f.refused
}
