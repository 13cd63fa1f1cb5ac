package eviction_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/nodeagent/eviction"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// node is a node in memory: evicting a pod gives back what it used.
type node struct {
	mu      sync.Mutex
	pods    []*corev1.Pod
	usage   map[types.UID]eviction.Usage
	seen    eviction.Observations
	evicted []string // "name: message"
	refuse  string   // name of a pod that can't be ended
}

func (n *node) Pods() []*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.pods)
}

func (n *node) Usage(_ context.Context, uid types.UID) (eviction.Usage, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, ok := n.usage[uid]
	return u, ok
}

func (n *node) Evict(_ context.Context, pod *corev1.Pod, message string, grace time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if pod.Name == n.refuse {
		return errors.New("still there")
	}
	if grace > time.Second {
		return fmt.Errorf("a grace of %v", grace)
	}
	n.evicted = append(n.evicted, pod.Name+": "+message)
	n.pods = slices.DeleteFunc(n.pods, func(p *corev1.Pod) bool { return p.UID == pod.UID })
	o := n.seen[eviction.MemoryAvailable]
	o.Available += n.usage[pod.UID].Memory
	n.seen[eviction.MemoryAvailable] = o
	return nil
}

func (n *node) observe() (eviction.Observations, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := eviction.Observations{}
	for s, o := range n.seen {
		seen[s] = o
	}
	return seen, nil
}

func (n *node) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, e := range n.evicted {
		name, _, _ := strings.Cut(e, ":")
		names = append(names, name)
	}
	return names
}

func pod(name string, priority int32, memoryRequest string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}
	p.Spec.Priority = &priority
	c := corev1.Container{Name: "c"}
	if memoryRequest != "" {
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memoryRequest)}
	}
	p.Spec.Containers = []corev1.Container{c}
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// run starts an evictor whose clock is turned by hand.
func run(t *testing.T, cfg eviction.Config) (*eviction.Evictor, *clocktesting.FakeClock) {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Now())
	cfg.Clock = clock
	e, err := eviction.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e, clock
}

const gi = 1 << 30

func TestMemoryPressureEvictsInOrderUntilThereIsEnough(t *testing.T) {
	critical := pod("critical", 2_000_000_000, "")
	n := &node{
		pods: []*corev1.Pod{
			pod("within", 0, "4Gi"), pod("over-little", 0, "1Gi"), critical, pod("over-much", 0, "1Gi"), pod("over-important", 100, "1Gi"), pod("stuck", -5, "1Gi"),
		},
		usage: map[types.UID]eviction.Usage{
			"within":         {Memory: 3 * gi},
			"over-little":    {Memory: gi + 50<<20},
			"critical":       {Memory: 9 * gi},
			"over-much":      {Memory: gi + 60<<20, Containers: map[string]eviction.ContainerUsage{"c": {Memory: gi + 60<<20}}},
			"over-important": {Memory: 5 * gi},
			"stuck":          {Memory: 2 * gi},
		},
		seen:   eviction.Observations{eviction.MemoryAvailable: {Available: 10 << 20, Capacity: 16 * gi}},
		refuse: "stuck",
	}
	var events []string
	e, clock := run(t, eviction.Config{
		Backend: n, Observe: n.observe, Hard: map[eviction.Signal]string{eviction.MemoryAvailable: "1100Mi"},
		Event: func(reason, message string) { events = append(events, reason+" "+message) },
	})
	eventually(t, "one pod is evicted", func() bool { return len(n.names()) == 1 })
	if !e.Pressure()[corev1.NodeMemoryPressure] || e.Pressure()[corev1.NodeDiskPressure] {
		t.Errorf("pressure %v", e.Pressure())
	}
	if ok, message := e.Admit(pod("new", 0, "")); ok || message != "The node had condition: [MemoryPressure]. " {
		t.Errorf("a best-effort pod: %v %q", ok, message)
	}
	if ok, _ := e.Admit(pod("new", 0, "1Gi")); !ok {
		t.Error("a pod with a request is refused")
	}
	tolerant := pod("new", 0, "")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists}}
	if ok, _ := e.Admit(tolerant); !ok {
		t.Error("a pod that tolerates it is refused")
	}
	// 10 Mi + 1 Gi + 60 Mi is less than 1100 Mi by 6 Mi.
	clock.Step(10 * time.Second)
	eventually(t, "another is evicted", func() bool { return len(n.names()) == 2 })
	if got, want := strings.Join(n.names(), " "), "over-much over-little"; got != want {
		t.Errorf("evicted %q, want %q", got, want)
	}
	want := "over-much: The node was low on resource: memory. Threshold quantity: 1100Mi, available: 10Mi. Container c was using 1084Mi, request is 1Gi, has larger consumption of memory. "
	if n.evicted[0] != want {
		t.Errorf("message %q, want %q", n.evicted[0], want)
	}
	clock.Step(4 * time.Minute)
	if !e.Pressure()[corev1.NodeMemoryPressure] {
		t.Error("the condition goes at once")
	}
	clock.Step(2 * time.Minute)
	if e.Pressure()[corev1.NodeMemoryPressure] {
		t.Error("the condition stays")
	}
	if ok, _ := e.Admit(pod("new", 0, "")); !ok || len(n.names()) != 2 {
		t.Errorf("after all: %v, evicted %v", ok, n.names())
	}
	if len(events) == 0 || events[0] != "EvictionThresholdMet Attempting to reclaim memory" {
		t.Errorf("events %q", events)
	}
}

func TestLimitsOfLocalDisk(t *testing.T) {
	limit := func(text string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(text)}}
	}
	quantity := resource.MustParse("1Mi")
	tests := []struct {
		name  string
		spec  corev1.PodSpec
		usage eviction.Usage
		want  string
	}{
		{
			name:  "an emptyDir beyond its sizeLimit",
			spec:  corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &quantity}}}}},
			usage: eviction.Usage{EmptyDirs: map[string]uint64{"v": 2 << 20}}, want: `p: Usage of EmptyDir volume "v" exceeds the limit "1Mi". `,
		},
		{
			name:  "a pod beyond the sum of its limits",
			spec:  corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("1Mi")}, {Name: "b", Resources: limit("2Mi")}}},
			usage: eviction.Usage{Disk: 4 << 20}, want: `p: Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. `,
		},
		{
			name:  "a container beyond its limit",
			spec:  corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("1Mi")}, {Name: "b"}}},
			usage: eviction.Usage{Disk: 4 << 20, Containers: map[string]eviction.ContainerUsage{"a": {Disk: 2 << 20}, "b": {Disk: 2 << 20}}},
			want:  `p: Container a exceeded its local ephemeral storage limit "1Mi". `,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pod("p", 0, "")
			p.Spec = tt.spec
			n := &node{pods: []*corev1.Pod{p}, usage: map[types.UID]eviction.Usage{"p": tt.usage}, seen: eviction.Observations{}}
			run(t, eviction.Config{Backend: n, Observe: n.observe})
			eventually(t, "it is evicted", func() bool { return len(n.names()) == 1 })
			if n.evicted[0] != tt.want {
				t.Errorf("got %q, want %q", n.evicted[0], tt.want)
			}
		})
	}
}

func TestThresholdsAreChecked(t *testing.T) {
	for text, hard := range map[string]map[eviction.Signal]string{
		"unsupported signal":        {"swap.available": "1Gi"},
		"is not a percentage":       {eviction.NodeFsAvailable: "110%"},
		"quantities must match the": {eviction.MemoryAvailable: "lots"},
		"must not be negative":      {eviction.MemoryAvailable: "-1"},
	} {
		if _, err := eviction.New(eviction.Config{Backend: &node{}, Hard: hard}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v", hard, err)
		}
	}
}

func TestThisMachineIsObserved(t *testing.T) {
	n := &node{}
	e, err := eviction.New(eviction.Config{Backend: n, DataDir: t.TempDir(), Hard: map[eviction.Signal]string{
		eviction.MemoryAvailable: "99999Ti", eviction.PIDAvailable: "0%",
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	eventually(t, "memory is short of a threshold that none reaches", func() bool { return e.Pressure()[corev1.NodeMemoryPressure] })
	if e.Pressure()[corev1.NodePIDPressure] {
		t.Error("PIDs are short of nothing")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// images is an ImageStore in memory, on a disk of 100 bytes.
type images struct {
	have       []runtime.Image
	containers []runtime.Container
	other      int64 // bytes used by something else
}

func (s *images) List(context.Context) ([]runtime.Sandbox, []runtime.Container, error) {
	return nil, s.containers, nil
}
func (s *images) ListImages(context.Context) ([]runtime.Image, error) {
	return slices.Clone(s.have), nil
}
func (s *images) RemoveImage(_ context.Context, id string) error {
	s.have = slices.DeleteFunc(s.have, func(i runtime.Image) bool { return i.ID == id })
	return nil
}

func (s *images) disk() (eviction.Observation, error) {
	used := s.other
	for _, i := range s.have {
		used += i.Size
	}
	return eviction.Observation{Available: uint64(100 - used), Capacity: 100}, nil
}

func (s *images) ids() string {
	var ids []string
	for _, i := range s.have {
		ids = append(ids, i.ID)
	}
	return strings.Join(ids, " ")
}

func TestImagesGoWhenTheDiskFills(t *testing.T) {
	store := &images{
		have: []runtime.Image{
			{ID: "used", RepoTags: []string{"web:1"}, Size: 10}, {ID: "old", Size: 10}, {ID: "lately", RepoTags: []string{"job:1"}, Size: 10}, {ID: "kept", RepoTags: []string{"keep:1"}, Size: 10},
		},
		containers: []runtime.Container{{Image: "web:1"}, {Image: "job:1"}},
		other:      40,
	}
	clock := clocktesting.NewFakeClock(time.Now())
	var events []string
	gc, err := eviction.NewImages(eviction.ImagesConfig{
		Store: store, Disk: store.disk, Clock: clock, Keep: []string{"keep:1"},
		Event: func(reason, message string) { events = append(events, reason+" "+message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	collect := func(other int64, want string) {
		t.Helper()
		store.other = other
		clock.Step(5 * time.Minute)
		if err := gc.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := store.ids(); got != want {
			t.Errorf("with %d other bytes %q is left, want %q", other, got, want)
		}
	}
	collect(40, "used old lately kept")
	store.containers = store.containers[:1]
	collect(44, "used old lately kept") // 84 %
	store.have = append(store.have, runtime.Image{ID: "new", Size: 1})
	collect(44, "used lately kept new") // 85 %: down to 75, "old" is enough and goes first
	store.other = 60
	clock.Step(time.Minute) // "new" has been seen for too short a time
	if err := gc.Collect(t.Context()); err == nil || store.ids() != "used kept new" {
		t.Errorf("left %q (%v), want 11 bytes of which only 10 can be had", store.ids(), err)
	}
	clock.Step(5 * time.Minute)
	freed, err := gc.Free(t.Context())
	if err != nil || store.ids() != "used kept" {
		t.Errorf("freed %d, left %q (%v)", freed, store.ids(), err)
	}
	store.other = 75
	if err := gc.Collect(t.Context()); err == nil || len(events) == 0 ||
		!strings.HasSuffix(events[len(events)-1], "FreeDiskSpaceFailed Failed to garbage collect required amount of images. Attempted to free 15 bytes, but only found 0 bytes eligible to free.") {
		t.Errorf("nothing to free: %v, events %q", err, events)
	}
}
