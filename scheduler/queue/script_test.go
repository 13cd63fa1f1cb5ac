package queue_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/queue"
)

var rewrite = flag.Bool("rewrite", false, "write what happens as the expected output of the scripts")

// waker is a rule that waits for one kind of event, and may refuse pods.
type waker struct {
	name    string
	on      plugins.Kind
	refuses string
}

func (w waker) Name() string          { return w.name }
func (w waker) WakesOn() plugins.Kind { return w.on }
func (w waker) Wakes(p *cache.Pod, _ *plugins.Event) bool {
	return p.Name != w.refuses
}

// script runs the commands of a file in testdata. Lines that start with "> "
// are what the command above them prints.
type script struct {
	clock *testingclock.FakeClock
	queue *queue.Queue
	taken map[string]*queue.Item
}

var kinds = map[string]plugins.Kind{
	"NodeAdded": plugins.NodeAdded, "NodeLabels": plugins.NodeLabels, "PodRemoved": plugins.PodRemoved,
}

func (s *script) run(line string) string {
	words := strings.Fields(line)
	name := ""
	if len(words) > 1 {
		name = words[1]
	}
	switch words[0] {
	case "add": // add NAME [prio=N] [gated]: a pod comes in, or is updated
		s.queue.Add(makePod(name, words[2:]))
	case "update": // update NAME [label]: the pod changed, in a way that may help or not
		s.queue.Update(makePod(name, words[2:]))
	case "delete":
		s.queue.Delete(types.UID(name))
	case "pop": // prints the next pod, or nothing
		ctx, cancel := context.WithCancel(context.Background())
		if l := s.queue.Lengths(); l.Active+l.Backoff == 0 {
			cancel() // it would wait
		}
		item := s.queue.Pop(ctx)
		cancel()
		if item == nil {
			return "> nothing\n"
		}
		s.taken[item.Pod.Name] = item
		return fmt.Sprintf("> %s, attempt %d\n", item.Pod.Name, item.Attempts)
	case "done":
		s.queue.Done(s.taken[name])
	case "requeue": // requeue NAME RULE...: it fits nowhere
		s.queue.Requeue(s.taken[name], words[2:])
	case "error": // error NAME: its cycle or bind failed
		s.queue.RequeueError(s.taken[name])
	case "event": // event KIND
		s.queue.Event(plugins.Event{Kind: kinds[name]})
	case "step": // step DURATION: time passes and the queue flushes
		d, err := time.ParseDuration(name)
		if err != nil {
			return "> " + err.Error() + "\n"
		}
		s.clock.Step(d)
		s.queue.FlushBackoff()
		s.queue.FlushUnschedulable()
	case "wait": // prints how long the next backoff lasts
		return fmt.Sprintf("> %s\n", s.queue.FlushBackoff())
	default:
		return "> unknown command\n"
	}
	l := s.queue.Lengths()
	return fmt.Sprintf("> active %d, backoff %d, unschedulable %d, gated %d\n", l.Active, l.Backoff, l.Unschedulable, l.Gated)
}

func makePod(name string, words []string) *cache.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	for _, w := range words {
		switch {
		case w == "gated":
			pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}}
		case w == "label":
			pod.Labels = map[string]string{"new": "label"}
		case strings.HasPrefix(w, "prio="):
			n, _ := strconv.Atoi(strings.TrimPrefix(w, "prio="))
			prio := int32(n)
			pod.Spec.Priority = &prio
		}
	}
	p, _ := cache.NewPod(pod)
	return p
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			fake := testingclock.NewFakeClock(time.Unix(1000, 0))
			s := &script{clock: fake, taken: map[string]*queue.Item{}, queue: queue.New(fake, []plugins.Waker{
				waker{"Fit", plugins.NodeAdded | plugins.PodRemoved, ""},
				waker{"Affinity", plugins.NodeAdded | plugins.NodeLabels, "picky"},
			})}
			var got strings.Builder
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, ">") {
					continue
				}
				got.WriteString(line + "\n")
				if line != "" && !strings.HasPrefix(line, "#") {
					got.WriteString(s.run(line))
				}
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != string(text) {
				t.Errorf("script gives:\n%s", got.String())
			}
		})
	}
}
