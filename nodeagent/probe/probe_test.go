package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/nodeagent/probe"
)

// command runs commands in no container: what it answers is set.
type command struct {
	mu     sync.Mutex
	code   int
	output string
	err    error
	hang   bool
	asked  [][]string
}

func (c *command) ExecProbe(ctx context.Context, _ string, words []string) (int, []byte, error) {
	c.mu.Lock()
	c.asked = append(c.asked, words)
	code, output, err, hang := c.code, c.output, c.err, c.hang
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return 0, nil, ctx.Err()
	}
	return code, []byte(output), err
}

func (c *command) set(code int, output string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code, c.output = code, output
}

// bench is a prober with a clock that is turned by hand.
type bench struct {
	t       *testing.T
	prober  *probe.Prober
	clock   *clocktesting.FakeClock
	exec    *command
	changes chan probe.Change
	events  chan string
}

func newBench(t *testing.T) *bench {
	b := &bench{
		t: t, exec: &command{}, clock: clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		changes: make(chan probe.Change, 1000), events: make(chan string, 1000),
	}
	var err error
	b.prober, err = probe.New(probe.Config{
		Exec: b.exec, Clock: b.clock,
		Changed: func(c probe.Change) { b.changes <- c },
		Event: func(_ probe.Target, eventType, reason, message string) {
			b.events <- eventType + " " + reason + " " + message
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.prober.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return b
}

func (b *bench) target(c corev1.Container) probe.Target {
	c.Name = "c"
	return probe.Target{
		Pod:       &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}},
		Container: &c, ID: "id", StartedAt: b.clock.Now(), PodIP: "127.0.0.1",
	}
}

// turn lets the clock go on as soon as a probe waits for it.
func (b *bench) turn(d time.Duration) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !b.clock.HasWaiters(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("no probe waits")
		}
	}
	b.clock.Step(d)
}

func (b *bench) change() probe.Change {
	b.t.Helper()
	select {
	case c := <-b.changes:
		return c
	case <-time.After(20 * time.Second):
		b.t.Fatal("nothing changed")
		return probe.Change{}
	}
}

func (b *bench) event() string {
	b.t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(20 * time.Second):
		b.t.Fatal("no event")
		return ""
	}
}

func execProbe(p corev1.Probe) *corev1.Probe {
	p.Exec = &corev1.ExecAction{Command: []string{"check", "$(MODE)"}}
	return &p
}

func TestReadinessFollowsItsThresholds(t *testing.T) {
	b := newBench(t)
	b.exec.set(1, "not yet")
	target := b.target(corev1.Container{
		Env:            []corev1.EnvVar{{Name: "MODE", Value: "fast"}},
		ReadinessProbe: execProbe(corev1.Probe{InitialDelaySeconds: 5, PeriodSeconds: 2, SuccessThreshold: 2, FailureThreshold: 2}),
	})
	b.prober.Start(target)
	if s, ok := b.prober.State("id"); !ok || !s.Started || s.Ready {
		t.Fatalf("at first %+v %v", s, ok)
	}
	b.turn(4 * time.Second) // too early
	if n := len(b.exec.asked); n != 0 {
		t.Fatalf("asked %d times before the initial delay", n)
	}
	b.turn(time.Second)
	if e := b.event(); e != "Warning Unhealthy Readiness probe failed: not yet" {
		t.Fatalf("event %q", e)
	}
	b.exec.set(0, "")
	b.turn(2 * time.Second)
	b.turn(2 * time.Second)
	if c := b.change(); c.Kind != probe.Readiness || !c.State.Ready || c.Message != "" {
		t.Fatalf("change %+v", c)
	}
	b.exec.set(3, "broken")
	b.turn(2 * time.Second)
	b.event()
	if s, _ := b.prober.State("id"); !s.Ready {
		t.Fatal("not ready after one failure of two")
	}
	b.turn(2 * time.Second)
	if c := b.change(); c.State.Ready || c.Message != "broken" {
		t.Fatalf("change %+v", c)
	}
	b.prober.Stop("id")
	if _, ok := b.prober.State("id"); ok {
		t.Error("a stopped container is known")
	}
	if got := strings.Join(b.exec.asked[0], " "); got != "check fast" {
		t.Errorf("ran %q", got)
	}
}

func TestOthersWaitForTheStartupProbe(t *testing.T) {
	b := newBench(t)
	b.exec.set(1, "starting")
	b.prober.Start(b.target(corev1.Container{
		StartupProbe:   execProbe(corev1.Probe{PeriodSeconds: 1, FailureThreshold: 30}),
		LivenessProbe:  execProbe(corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1}),
		ReadinessProbe: execProbe(corev1.Probe{PeriodSeconds: 1}),
	}))
	b.turn(0)
	for range 3 {
		if e := b.event(); e != "Warning Unhealthy Startup probe failed: starting" {
			t.Fatalf("event %q", e)
		}
		b.turn(time.Second)
	}
	b.event()
	b.exec.set(0, "")
	b.turn(time.Second)
	if c := b.change(); c.Kind != probe.Startup || !c.State.Started || c.State.Ready {
		t.Fatalf("change %+v", c)
	}
	b.turn(0) // the others are asked at once
	if c := b.change(); c.Kind != probe.Readiness || !c.State.Ready {
		t.Fatalf("change %+v", c)
	}
	b.exec.set(1, "dead")
	for {
		// Either probe may be the one that waits: go on until both have been asked.
		b.turn(time.Second)
		select {
		case c := <-b.changes:
			if c.Kind == probe.Liveness {
				if c.State.Failed != probe.Liveness || c.Message != "dead" {
					t.Fatalf("change %+v", c)
				}
				return
			}
		default:
		}
	}
}

func TestAFailedStartupProbeEndsTheContainer(t *testing.T) {
	b := newBench(t)
	b.exec.set(7, "no")
	b.prober.Start(b.target(corev1.Container{StartupProbe: execProbe(corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1})}))
	b.turn(0)
	if c := b.change(); c.State.Failed != probe.Startup || c.State.Started {
		t.Fatalf("change %+v", c)
	}
	if b.clock.HasWaiters() {
		t.Error("it is asked again")
	}
}

func TestTerminationStopsLivenessButNotReadiness(t *testing.T) {
	b := newBench(t)
	b.prober.Start(b.target(corev1.Container{
		LivenessProbe:  execProbe(corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1}),
		ReadinessProbe: execProbe(corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1}),
	}))
	b.turn(0)
	b.change() // ready
	b.prober.StopForTermination("u")
	b.exec.set(1, "going")
	eventually(t, "readiness waits", b.clock.HasWaiters)
	b.turn(time.Second)
	if c := b.change(); c.Kind != probe.Readiness || c.State.Ready || c.State.Failed != "" {
		t.Fatalf("change %+v", c)
	}
}

func TestARestartOfTheAgentKeepsWhatWasReady(t *testing.T) {
	b := newBench(t)
	target := b.target(corev1.Container{
		StartupProbe:   execProbe(corev1.Probe{}),
		ReadinessProbe: execProbe(corev1.Probe{PeriodSeconds: 10, FailureThreshold: 1}),
	})
	target.StartedAt = b.clock.Now().Add(-time.Hour)
	target.WasStarted, target.WasReady = true, true
	b.prober.Start(target)
	if s, _ := b.prober.State("id"); !s.Ready || !s.Started {
		t.Fatalf("state %+v", s)
	}
	b.exec.set(1, "down")
	b.turn(10 * time.Second) // at some time within the first period
	if c := b.change(); c.State.Ready {
		t.Fatalf("change %+v", c)
	}
}

func TestExec(t *testing.T) {
	tests := []struct {
		name string
		exec *command
		want string
	}{
		{"a command that fails says why", &command{code: 2, output: "cat: no such file\n"}, "Warning Unhealthy Liveness probe failed: cat: no such file\n"},
		{"a command that hangs has timed out", &command{hang: true}, `Warning Unhealthy Liveness probe failed: command "check $(MODE)" timed out`},
		{"a command that can't be run is an error", &command{err: errors.New("no container")}, "Warning Unhealthy Liveness probe errored and resulted in unknown state: no container"},
		{"long output is cut", &command{code: 1, output: strings.Repeat("x", 20000)}, "Warning Unhealthy Liveness probe failed: " + strings.Repeat("x", 10<<10)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.exec.code, b.exec.output, b.exec.err, b.exec.hang = tt.exec.code, tt.exec.output, tt.exec.err, tt.exec.hang
			b.prober.Start(b.target(corev1.Container{LivenessProbe: execProbe(corev1.Probe{})}))
			b.turn(0)
			if e := b.event(); e != tt.want {
				t.Errorf("event %q, want %q", e, tt.want)
			}
		})
	}
}

// askOnce probes for readiness once and gives the events and whether it was
// ready.
func askOnce(t *testing.T, p corev1.Probe, ports ...corev1.ContainerPort) (string, bool) {
	t.Helper()
	b := newBench(t)
	p.FailureThreshold = 1
	target := b.target(corev1.Container{ReadinessProbe: &p, Ports: ports})
	target.WasReady = true // so that either answer is a change or an event
	b.prober.Start(target)
	b.turn(0)
	eventually(t, "the probe has answered", b.clock.HasWaiters)
	state, _ := b.prober.State("id")
	select {
	case e := <-b.events:
		return e, state.Ready
	default:
		return "", state.Ready
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestHTTP(t *testing.T) {
	var last atomic.Pointer[http.Request]
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		last.Store(r)
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
		fmt.Fprint(w, "body")
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/status/500", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://elsewhere.invalid/")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain := httptest.NewServer(mux)
	defer plain.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	u, _ := url.Parse(plain.URL)
	port := portOf(t, u.Host)
	s, _ := url.Parse(secure.URL)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := portOf(t, free.Addr().String())
	free.Close()

	tests := []struct {
		name  string
		get   corev1.HTTPGetAction
		ready bool
		event string
	}{
		{name: "200", get: corev1.HTTPGetAction{Path: "/status/200?x=y"}, ready: true},
		{name: "399 is a success with a warning", get: corev1.HTTPGetAction{Path: "/status/399"}, ready: true, event: "Warning ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: body"},
		{name: "500", get: corev1.HTTPGetAction{Path: "/status/500"}, event: "Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500"},
		{name: "a redirect on the same host is followed", get: corev1.HTTPGetAction{Path: "/here"}, event: "Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500"},
		{name: "a redirect to another host is not", get: corev1.HTTPGetAction{Path: "/away"}, ready: true, event: "Warning ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: "},
		{name: "redirects without end", get: corev1.HTTPGetAction{Path: "/loop"}, event: `Warning Unhealthy Readiness probe failed: Get "/loop": stopped after 10 redirects`},
		{name: "no answer in time", get: corev1.HTTPGetAction{Path: "/slow"}, event: fmt.Sprintf("Warning Unhealthy Readiness probe failed: Get %q: context deadline exceeded (Client.Timeout exceeded while awaiting headers)", plain.URL+"/slow")},
		{name: "HTTPS without verification", get: corev1.HTTPGetAction{Path: "/status/200", Scheme: corev1.URISchemeHTTPS, Port: intstr.FromInt(portOf(t, s.Host))}, ready: true},
		{name: "nobody listens", get: corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt(closed)}, event: fmt.Sprintf("Warning Unhealthy Readiness probe failed: Get \"http://127.0.0.1:%d/\": dial tcp 127.0.0.1:%d: connect: connection refused", closed, closed)},
		{name: "a named port", get: corev1.HTTPGetAction{Path: "/status/200", Port: intstr.FromString("web")}, ready: true},
		{name: "an unknown port", get: corev1.HTTPGetAction{Path: "/status/200", Port: intstr.FromString("none")}, ready: true, event: `Warning Unhealthy Readiness probe errored and resulted in unknown state: port none not found: strconv.Atoi: parsing "none": invalid syntax`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.get.Port == (intstr.IntOrString{}) {
				tt.get.Port = intstr.FromInt(port)
			}
			event, ready := askOnce(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &tt.get}},
				corev1.ContainerPort{Name: "web", ContainerPort: int32(port)})
			if event != tt.event || ready != tt.ready {
				t.Errorf("ready %v, event %q; want %v, %q", ready, event, tt.ready, tt.event)
			}
		})
	}

	askOnce(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/status/200", Port: intstr.FromInt(port)}}})
	if r := last.Load(); r.UserAgent() != "kube-probe/1.37" || r.Header.Get("Accept") != "*/*" {
		t.Errorf("headers %v", r.Header)
	}
	askOnce(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
		Path: "/status/200", Port: intstr.FromInt(port), HTTPHeaders: []corev1.HTTPHeader{
			{Name: "Host", Value: "shop.test"}, {Name: "user-agent", Value: "me"}, {Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"},
		},
	}}})
	if r := last.Load(); r.Host != "shop.test" || r.UserAgent() != "me" || len(r.Header["X-A"]) != 2 {
		t.Errorf("host %q, headers %v", r.Host, r.Header)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, l.Addr().String())
	ask := func() (string, bool) {
		return askOnce(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}})
	}
	if event, ready := ask(); event != "" || !ready {
		t.Errorf("open: ready %v, event %q", ready, event)
	}
	l.Close()
	want := fmt.Sprintf("Warning Unhealthy Readiness probe failed: dial tcp 127.0.0.1:%d: connect: connection refused", port)
	if event, ready := ask(); event != want || ready {
		t.Errorf("closed: ready %v, event %q", ready, event)
	}
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	state := health.NewServer()
	state.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, state)
	go server.Serve(l)
	defer server.Stop()
	bare := grpc.NewServer()
	l2, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go bare.Serve(l2)
	defer bare.Stop()

	tests := []struct {
		name, service, address string
		ready                  bool
		event                  string
	}{
		{name: "the server as a whole", address: l.Addr().String(), ready: true},
		{name: "a service that does not serve", address: l.Addr().String(), service: "sick", event: `Warning Unhealthy Readiness probe failed: service unhealthy (responded with "NOT_SERVING")`},
		{name: "an unknown service", address: l.Addr().String(), service: "none", event: "Warning Unhealthy Readiness probe failed: error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"},
		{name: "a server without health", address: l2.Addr().String(), event: "Warning Unhealthy Readiness probe failed: error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service grpc.health.v1.Health"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event, ready := askOnce(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				GRPC: &corev1.GRPCAction{Port: int32(portOf(t, tt.address)), Service: &tt.service},
			}})
			if event != tt.event || ready != tt.ready {
				t.Errorf("ready %v, event %q; want %v, %q", ready, event, tt.ready, tt.event)
			}
		})
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := gone.Addr().String()
	gone.Close()
	event, ready := askOnce(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(portOf(t, address))}}})
	if want := fmt.Sprintf("Warning Unhealthy Readiness probe failed: timeout: failed to connect service %q within 1s: context deadline exceeded", address); event != want || ready {
		t.Errorf("nobody listens: ready %v, event %q", ready, event)
	}
}
