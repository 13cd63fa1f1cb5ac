package podworker_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/probe"
	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts give into testdata")

// TestScripts runs each script of testdata: commands, "----", what they give.
// Actions begin, as they would with a Worker, and stay under way until "done".
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := newScript()
			var out strings.Builder
			for block := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n\n") {
				commands, want, expects := strings.Cut(block, "\n----\n")
				got := s.run(t, commands)
				fmt.Fprintf(&out, "%s\n", commands)
				if expects || got != "" {
					fmt.Fprintf(&out, "----\n%s\n", strings.TrimRight(got, "\n"))
				}
				out.WriteString("\n")
				if !*rewrite && strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("after\n%s\ngot\n%s\nwant\n%s", commands, got, want)
				}
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type script struct {
	pod        *corev1.Pod
	state      *podworker.State
	start, now time.Time
	sandbox    *runtime.Sandbox
	containers []runtime.Container
	probes     map[string]probe.State
	removed    bool
}

func newScript() *script {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &script{start: start, now: start, state: podworker.NewState(start), probes: map[string]probe.State{}}
}

func (s *script) run(t *testing.T, commands string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(commands) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		args := words[1:]
		switch words[0] {
		case "pod": // POLICY NAME[:init|:sidecar]…
			s.makePod(args)
		case "deadline":
			s.pod.Spec.ActiveDeadlineSeconds = new(int64(atoi(t, args[0])))
		case "sandbox":
			s.sandbox = &runtime.Sandbox{CreatedAt: s.now}
		case "nosandbox":
			s.sandbox = nil
		case "done": // KEY
			s.done(args[0])
		case "fail": // KEY REASON [image=IMAGE] MESSAGE
			delete(s.state.Busy, args[0])
			f := s.state.Failures[args[0]]
			image, message := "image", args[2:]
			if name, ok := strings.CutPrefix(args[2], "image="); ok {
				image, message = name, args[3:]
			}
			s.state.Failures[args[0]] = podworker.Failure{Reason: args[1], Image: image, Message: strings.Join(message, " "), Time: s.now, Count: f.Count + 1}
		case "run": // NAME
			s.change(t, args[0], func(c *runtime.Container) { c.State, c.StartedAt = runtime.Running, s.now })
		case "exit": // NAME CODE
			s.change(t, args[0], func(c *runtime.Container) {
				c.State, c.ExitCode, c.FinishedAt = runtime.Exited, atoi(t, args[1]), s.now
			})
		case "probe": // NAME started|failed-liveness|failed-startup
			p := probe.State{Started: args[1] != "failed-startup" && args[1] != "starting"}
			switch args[1] {
			case "failed-liveness":
				p.Failed = probe.Liveness
			case "failed-startup":
				p.Failed = probe.Startup
			}
			s.change(t, args[0], func(c *runtime.Container) { s.probes[c.ID] = p })
		case "image": // NAME IMAGE
			for i := range s.pod.Spec.Containers {
				if s.pod.Spec.Containers[i].Name == args[0] {
					s.pod.Spec.Containers[i].Image = args[1]
				}
			}
		case "cpu": // NAME LIMIT [restart]
			for i := range s.pod.Spec.Containers {
				if c := &s.pod.Spec.Containers[i]; c.Name == args[0] {
					c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(args[1])}
					if len(args) > 2 {
						c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
					}
				}
			}
			s.pod.Generation++
		case "delete": // GRACE
			s.pod.DeletionTimestamp = &metav1.Time{Time: s.now.Add(time.Duration(atoi(t, args[0])) * time.Second)}
			s.pod.DeletionGracePeriodSeconds = new(int64(atoi(t, args[0])))
		case "removed":
			s.removed = true
		case "phase":
			s.pod.Status.Phase = corev1.PodPhase(args[0])
		case "advance":
			d, err := time.ParseDuration(args[0])
			if err != nil {
				t.Fatal(err)
			}
			s.now = s.now.Add(d)
		case "next":
			out.WriteString(s.next())
		default:
			t.Fatalf("unknown command %q", line)
		}
	}
	return out.String()
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *script) makePod(args []string) {
	s.pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u"}}
	s.pod.Spec.RestartPolicy = corev1.RestartPolicy(args[0])
	for _, arg := range args[1:] {
		name, kind, _ := strings.Cut(arg, ":")
		c := corev1.Container{Name: name, Image: "image"}
		switch kind {
		case "":
			s.pod.Spec.Containers = append(s.pod.Spec.Containers, c)
			continue
		case "sidecar":
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		s.pod.Spec.InitContainers = append(s.pod.Spec.InitContainers, c)
	}
}

func (s *script) kindOf(name string) runtime.ContainerKind {
	for i := range s.pod.Spec.InitContainers {
		if s.pod.Spec.InitContainers[i].Name == name {
			return runtime.Init
		}
	}
	return runtime.Regular
}

// done ends an action well: what it makes is there.
func (s *script) done(key string) {
	a, ok := s.state.Busy[key]
	if !ok {
		return
	}
	delete(s.state.Busy, key)
	delete(s.state.Failures, key)
	switch a.Kind {
	case podworker.MakeSandbox:
		s.sandbox = &runtime.Sandbox{CreatedAt: s.now, Resources: resources.Pod(s.pod)}
	case podworker.ResizePod:
		plan := resources.NewPlan(s.pod, s.sandbox, s.containers)
		for _, r := range []*runtime.Resources{plan.Grow, plan.Settle} {
			if r != nil {
				s.sandbox.Resources = *r
			}
		}
		for _, c := range plan.Containers {
			for i := range s.containers {
				if s.containers[i].ID == c.ID {
					s.containers[i].Resources = c.To
				}
			}
		}
	case podworker.AttachNetwork:
		s.state.Attached = true
	case podworker.PrepareVolumes:
		s.state.VolumesReady = true
	case podworker.StartContainer:
		image, has := "image", runtime.Resources{}
		for i := range s.pod.Spec.Containers {
			if c := &s.pod.Spec.Containers[i]; c.Name == a.Container {
				image, has = c.Image, resources.Container(s.pod, c)
			}
		}
		c := runtime.Container{
			ID: fmt.Sprintf("%s-%d", a.Container, a.Attempt), Name: a.Container, Attempt: a.Attempt, Kind: a.Type, State: runtime.Running,
			CreatedAt: s.now, StartedAt: s.now, Resources: has, Hash: podworker.Hash(&corev1.Container{Name: a.Container, Image: image}),
		}
		s.containers = append(s.containers, c)
		s.probes[c.ID] = probe.State{Started: true, Ready: true}
	case podworker.RemoveContainer:
		for i := range s.containers {
			if s.containers[i].ID == a.ID {
				s.containers = append(s.containers[:i], s.containers[i+1:]...)
				break
			}
		}
	case podworker.Teardown:
		s.state.TornDown, s.sandbox = true, nil
		s.state.Attached, s.state.VolumesReady = false, false
	}
}

// change changes the newest container of a name.
func (s *script) change(t *testing.T, name string, f func(*runtime.Container)) {
	t.Helper()
	c := podworker.Latest(s.containers, s.kindOf(name), name)
	if c == nil {
		t.Fatalf("there is no container %q", name)
	}
	f(c)
}

func (s *script) next() string {
	out := podworker.Next(s.state, podworker.Input{
		Pod: s.pod, Removed: s.removed, Now: s.now,
		Observed: podworker.Observed{Sandbox: s.sandbox, Containers: s.containers, Probes: func(id string) (probe.State, bool) {
			p, ok := s.probes[id]
			return p, ok
		}},
	})
	var b strings.Builder
	for _, a := range out.Actions {
		hurried := ""
		if _, ok := s.state.Busy[a.Key()]; ok {
			hurried = " (hurried)"
		}
		s.state.Busy[a.Key()] = a
		fmt.Fprintf(&b, "%s", a.Key())
		if a.Kind == podworker.StartContainer {
			fmt.Fprintf(&b, " attempt=%d", a.Attempt)
		}
		if a.Kind == podworker.KillContainer {
			fmt.Fprintf(&b, " in %v: %s%s", a.Deadline.Sub(s.now), a.Message, hurried)
		}
		b.WriteString("\n")
	}
	for _, e := range out.Events {
		fmt.Fprintf(&b, "event %s %s: %s\n", e.Type, e.Reason, e.Message)
	}
	if e := s.state.Ending; e != nil {
		fmt.Fprintf(&b, "ending %s\n", e.Reason)
	}
	if !out.Wake.IsZero() {
		fmt.Fprintf(&b, "wake in %v\n", out.Wake.Sub(s.now))
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}
