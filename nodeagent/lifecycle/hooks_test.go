package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiffcluster/skiff/nodeagent/lifecycle"
)

// shell answers with its first argument as exit code.
type shell struct{}

func (shell) ExecProbe(ctx context.Context, id string, command []string) (int, []byte, error) {
	switch command[0] {
	case "hang":
		<-ctx.Done()
		return 0, nil, ctx.Err()
	case "fail":
		return 3, []byte("no such host"), nil
	case "missing":
		return 0, nil, errors.New("executable file not found")
	}
	if id != "id" {
		return 1, nil, nil
	}
	return 0, []byte("fine"), nil
}

func TestHooks(t *testing.T) {
	var agent, auth string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, auth = r.UserAgent(), r.Header.Get("Authorization")
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	_, text, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port := intstr.Parse(text)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := free.Addr().(*net.TCPAddr).Port
	free.Close()

	ended, end := context.WithCancel(t.Context())
	end()
	tests := []struct {
		name  string
		hook  corev1.LifecycleHandler
		ctx   context.Context //nolint:containedctx // what the case is about
		want  string
		event string
	}{
		{name: "a command", hook: corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}},
		{
			name: "a command that fails", hook: corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"fail", "now"}}},
			want: `Exec lifecycle hook ([fail now]) for Container "c" in Pod "p_ns(u)" failed - error: command 'fail now' exited with 3: no such host, message: "no such host"`,
		},
		{
			name: "a command that is not there", hook: corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"missing"}}},
			want: `Exec lifecycle hook ([missing]) for Container "c" in Pod "p_ns(u)" failed - error: executable file not found, message: ""`,
		},
		{
			name: "a command that outlives the grace period", ctx: ended, hook: corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"hang"}}},
			want: `Exec lifecycle hook ([hang]) for Container "c" in Pod "p_ns(u)" failed - error: command "hang" timed out, message: ""`,
		},
		{name: "a request, whatever is answered", hook: corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x", Port: port}}},
		{
			name: "HTTPS to a plain server", hook: corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: "/x", Port: port, Scheme: corev1.URISchemeHTTPS, HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "secret"}},
			}},
			event: fmt.Sprintf("LifecycleHTTPFallback request to HTTPS lifecycle hook 127.0.0.1:%s got HTTP response, retry with HTTP succeeded", text),
		},
		{
			name: "a request that nobody answers", hook: corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x", Port: intstr.FromInt(closed)}},
			want: fmt.Sprintf(`HTTP lifecycle hook (/x) for Container "c" in Pod "p_ns(u)" failed - error: Get "http://127.0.0.1:%d/x": dial tcp 127.0.0.1:%d: connect: connection refused`, closed, closed),
		},
		{name: "a sleep of nothing", hook: corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}},
		{
			name: "a sleep that is cut short", ctx: ended, hook: corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 100}},
			want: `Sleep lifecycle hook (100) for Container "c" in Pod "p_ns(u)" failed - error: container terminated before sleep hook completed`,
		},
		{name: "tcpSocket is not supported", hook: corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{}}, want: "Cannot run handler: invalid handler: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event := ""
			hooks := &lifecycle.Hooks{Exec: shell{}, Event: func(_ lifecycle.Target, _, reason, message string) { event = reason + " " + message }}
			target := lifecycle.Target{
				Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}, ID: "id", PodIP: "127.0.0.1",
				Container: &corev1.Container{Name: "c", Lifecycle: &corev1.Lifecycle{PostStart: &tt.hook, PreStop: &tt.hook}},
			}
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			for reason, call := range map[string]func(context.Context, lifecycle.Target) error{
				"FailedPostStartHook": hooks.PostStart, "FailedPreStopHook": hooks.PreStop,
			} {
				err := call(ctx, target)
				if tt.want == "" {
					if err != nil {
						t.Errorf("%s: %v", reason, err)
					}
					continue
				}
				var failed *lifecycle.Error
				if !errors.As(err, &failed) || !strings.HasPrefix(failed.Detail, tt.want) || failed.Reason != reason {
					t.Errorf("got %v, want %s %q", err, reason, tt.want)
				}
			}
			if event != tt.event {
				t.Errorf("event %q, want %q", event, tt.event)
			}
		})
	}
	if agent != "kube-lifecycle/1.37" || auth != "" {
		t.Errorf("User-Agent %q, Authorization %q", agent, auth)
	}
	none := lifecycle.Target{Container: &corev1.Container{}}
	if err := (&lifecycle.Hooks{}).PostStart(t.Context(), none); err != nil {
		t.Errorf("no hook: %v", err)
	}
}
