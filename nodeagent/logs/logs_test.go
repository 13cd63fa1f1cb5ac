package logs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/logs"
)

func ptr[T any](v T) *T { return &v }

const sample = "2026-01-02T03:04:05.000000001Z stdout F one\n" +
	"2026-01-02T03:04:06.000000001Z stderr F two\n" +
	"2026-01-02T03:04:07.1Z stdout P thr\n" +
	"not a line of a log\n" +
	"2026-01-02T03:04:07.2Z stdout F ee\n" +
	"2026-01-02T03:04:08+00:00 stdout F four\n"

func TestRead(t *testing.T) {
	tests := []struct {
		name    string
		options corev1.PodLogOptions
		content string
		want    string // stdout and stderr together
		wantErr string // stderr alone, if set
	}{
		{name: "all of it", content: sample, want: "one\ntwo\nthree\nfour\n", wantErr: "two\n"},
		{name: "a line still being written is left out", content: sample + "2026-01-02T03:04:09Z stdout F fi", want: "one\ntwo\nthree\nfour\n"},
		{name: "the last line", content: sample, options: corev1.PodLogOptions{TailLines: ptr(int64(1))}, want: "four\n"},
		{name: "the last two lines of the file", content: sample, options: corev1.PodLogOptions{TailLines: ptr(int64(2))}, want: "ee\nfour\n"},
		{name: "more lines than there are", content: sample, options: corev1.PodLogOptions{TailLines: ptr(int64(99))}, want: "one\ntwo\nthree\nfour\n"},
		{name: "no line", content: sample, options: corev1.PodLogOptions{TailLines: ptr(int64(0))}, want: ""},
		{name: "an empty log", want: ""},
		{name: "only standard output", content: sample, options: corev1.PodLogOptions{Stream: ptr(corev1.LogStreamStdout)}, want: "one\nthree\nfour\n"},
		{name: "only standard error", content: sample, options: corev1.PodLogOptions{Stream: ptr(corev1.LogStreamStderr)}, want: "two\n"},
		{
			name: "since a time", content: sample, want: "three\nfour\n",
			options: corev1.PodLogOptions{SinceTime: &metav1.Time{Time: time.Date(2026, 1, 2, 3, 4, 7, 0, time.UTC)}},
		},
		{name: "since some seconds", content: sample, options: corev1.PodLogOptions{SinceSeconds: ptr(int64(1))}, want: ""},
		{name: "a limit cuts within a line", content: sample, options: corev1.PodLogOptions{LimitBytes: ptr(int64(6))}, want: "one\ntw"},
		{
			name: "times once a line, with nine digits", content: sample, options: corev1.PodLogOptions{Timestamps: true, TailLines: ptr(int64(4))},
			want: "2026-01-02T03:04:07.100000000Z three\n2026-01-02T03:04:08.000000000Z four\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "0.log")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var both, stderr bytes.Buffer
			if err := logs.Read(t.Context(), path, &tt.options, nil, &both, io.MultiWriter(&both, &stderr)); err != nil {
				t.Fatal(err)
			}
			if both.String() != tt.want {
				t.Errorf("got %q, want %q", both.String(), tt.want)
			}
			if tt.wantErr != "" && stderr.String() != tt.wantErr {
				t.Errorf("stderr %q, want %q", stderr.String(), tt.wantErr)
			}
		})
	}
	err := logs.Read(t.Context(), filepath.Join(t.TempDir(), "none.log"), &corev1.PodLogOptions{}, nil, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "failed to open log file") {
		t.Errorf("a missing log gives %v", err)
	}
}

func TestTailOfALargeLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	f, err := logs.Open(path, logs.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	out := f.Stream("stdout")
	for i := range 5000 {
		fmt.Fprintf(out, "line %d %s\n", i, strings.Repeat("x", 100))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := logs.Read(t.Context(), path, &corev1.PodLogOptions{TailLines: ptr(int64(1234))}, nil, &b, nil); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 1234 || !strings.HasPrefix(b.String(), "line 3766 ") {
		t.Errorf("%d lines from %.10q", n, b.String())
	}
	if text, err := logs.Tail(path, 80, 250); err != nil || len(text) != 250 || !strings.Contains(text, "line 4999") {
		t.Errorf("tail %q (%v)", text, err)
	}
}

func TestWriteKeepsTheOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "0.log")
	f, err := logs.Open(path, logs.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	out, errOut := f.Stream("stdout"), f.Stream("stderr")
	long := strings.Repeat("0123456789", 5000)
	for _, text := range []string{"a\n\nb", "c\n", long + "\n", "prompt> "} {
		if _, err := io.WriteString(out, text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(errOut, "oops\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(out, "late\n"); err == nil {
		t.Error("a closed log takes more")
	}
	var stdout, stderr bytes.Buffer
	if err := logs.Read(t.Context(), path, &corev1.PodLogOptions{}, nil, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if want := "a\n\nbc\n" + long + "\nprompt> "; stdout.String() != want {
		t.Errorf("stdout has %d bytes, want %d: %.40q", stdout.Len(), len(want), stdout.String())
	}
	if stderr.String() != "oops\n" {
		t.Errorf("stderr %q", stderr.String())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if len(line) > 16<<10+64 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	f, err := logs.Open(path, logs.Rotation{MaxSize: 2000, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	out := f.Stream("stdout")
	for i := range 500 {
		fmt.Fprintf(out, "line %d\n", i)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var packed, plain int
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), ".gz"):
			packed++
		case strings.HasPrefix(e.Name(), "0.log."):
			plain++
		}
	}
	if len(entries) != 3 || packed != 1 || plain != 1 {
		t.Errorf("%d files, %d of them packed and %d put aside: %v", len(entries), packed, plain, entries)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2100 {
		t.Errorf("the current file has %d bytes", info.Size())
	}
}

// safeBuffer may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestFollowSeesEveryLineThroughRotationsUntilTheContainerEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	// As few rotations as a reader can be expected to keep up with: each file
	// stays until two more have come.
	f, err := logs.Open(path, logs.Rotation{MaxSize: 4000, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	out := f.Stream("stdout")
	var running atomic.Bool
	running.Store(true)
	var got safeBuffer
	done := make(chan error, 1)
	go func() {
		done <- logs.Read(context.Background(), path, &corev1.PodLogOptions{Follow: true}, running.Load, &got, nil)
	}()
	var want strings.Builder
	for i := range 400 {
		text := fmt.Sprintf("line %d\n", i)
		want.WriteString(text)
		if _, err := io.WriteString(out, text); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			eventually(t, fmt.Sprintf("line %d is read", i), func() bool { return got.String() == want.String() })
		}
	}
	io.WriteString(out, "bye\n")
	running.Store(false)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String()+"bye\n" {
		t.Errorf("the end is %q", got.String()[max(0, len(got.String())-40):])
	}
}

func TestFollowEndsWithItsReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got safeBuffer
	done := make(chan error, 1)
	go func() {
		done <- logs.Read(ctx, path, &corev1.PodLogOptions{Follow: true}, func() bool { return true }, &got, nil)
	}()
	eventually(t, "all is read", func() bool { return strings.HasSuffix(got.String(), "four\n") })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestContainerID(t *testing.T) {
	terminated := func(id string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: id}}
	}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	tests := []struct {
		name     string
		status   corev1.ContainerStatus
		previous bool
		want     string
		err      string
	}{
		{name: "running", status: corev1.ContainerStatus{ContainerID: "containerd://now", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, want: "now"},
		{name: "ended", status: corev1.ContainerStatus{State: terminated("containerd://old")}, want: "old"},
		{name: "waiting to be restarted", status: corev1.ContainerStatus{State: waiting("CrashLoopBackOff"), LastTerminationState: terminated("containerd://old")}, want: "old"},
		{name: "previous", status: corev1.ContainerStatus{ContainerID: "x", LastTerminationState: terminated("containerd://old")}, previous: true, want: "old"},
		{name: "no previous", status: corev1.ContainerStatus{ContainerID: "x"}, previous: true, err: `previous terminated container "c" in pod "p" not found`},
		{name: "being made", status: corev1.ContainerStatus{State: waiting("ContainerCreating")}, err: `container "c" in pod "p" is waiting to start: ContainerCreating`},
		{name: "no image", status: corev1.ContainerStatus{State: waiting("ImagePullBackOff")}, err: `container "c" in pod "p" is waiting to start: trying and failing to pull image`},
		{name: "a failing image", status: corev1.ContainerStatus{State: waiting("ErrImagePull")}, err: `container "c" in pod "p" is waiting to start: image can't be pulled`},
		{name: "ended without ever having been made", status: corev1.ContainerStatus{State: terminated("")}, err: `container "c" in pod "p" is terminated`},
		{name: "nothing known", err: `container "c" in pod "p" is waiting to start - no logs yet`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.status.Name = "c"
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{tt.status}}}
			id, err := logs.ContainerID(pod, "c", tt.previous)
			if id != tt.want || tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("%q, %v; want %q, %q", id, err, tt.want, tt.err)
			}
		})
	}
	if _, err := logs.ContainerID(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, "c", false); err == nil ||
		err.Error() != `container "c" in pod "p" is not available` {
		t.Errorf("a container without status gives %v", err)
	}
}
