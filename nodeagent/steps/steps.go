package steps

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/image"
	"github.com/skiffcluster/skiff/nodeagent/lifecycle"
	"github.com/skiffcluster/skiff/nodeagent/network"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Volumes is what steps need of package volume; nil where pods have no files.
type Volumes interface {
	Prepare(ctx context.Context, pod *corev1.Pod) error
	Mounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, env []string) ([]runtime.Mount, error)
	Path(ctx context.Context, pod *corev1.Pod, name string) (string, error)
	PodDir(uid types.UID) string
	Teardown(uid types.UID) error
}

// Config of Steps.
type Config struct {
	Runtime runtime.Runtime
	Network network.Network
	Images  *image.Puller
	Hooks   *lifecycle.Hooks
	// Protect sets up what is allowed to a pod that has been connected, before
	// its containers start; may be nil.
	Protect func(ctx context.Context, pod *corev1.Pod, ips []netip.Addr) error
	// Volumes and Objects are nil for pods in memory: no files are made and no
	// variables are computed from objects.
	Volumes Volumes
	Objects environment.Objects
	// DNS is what resolv.conf is made of.
	DNS func() environment.DNS
	// Services gives those that a pod's variables tell of.
	Services func(namespace string) []*corev1.Service
	// Allocatable of the node.
	Allocatable func() corev1.ResourceList
	// HostIPs of the node, the first is the primary one.
	HostIPs func() []string
	// MemoryCapacity of the node in bytes, for oom_score_adj.
	MemoryCapacity int64
	// LogDir holds the logs of containers, as /var/log/pods.
	LogDir        string
	ClusterDomain string
	// Record sends an event of a pod, or of one of its containers.
	Record func(pod *corev1.Pod, container, eventType, reason, message string)
	Clock  clock.WithDelayedExecution
}

// Steps are the actions of one node's pods.
type Steps struct {
	cfg Config

	mu    sync.Mutex
	gates map[types.UID]*gate
	kills map[string]*deadline
}

// gate is open once a pod's sandbox is connected.
type gate struct {
	opened chan struct{}
	once   sync.Once
}

// New makes Steps.
func New(cfg Config) *Steps {
	return &Steps{cfg: cfg, gates: map[types.UID]*gate{}, kills: map[string]*deadline{}}
}

// Do carries out one action.
func (s *Steps) Do(ctx context.Context, pod *corev1.Pod, a podworker.Action) (podworker.Result, error) {
	switch a.Kind {
	case podworker.MakeSandbox:
		return podworker.Result{}, s.makeSandbox(ctx, pod)
	case podworker.AttachNetwork:
		return s.attachNetwork(ctx, pod)
	case podworker.PrepareVolumes:
		return podworker.Result{}, s.prepareVolumes(ctx, pod)
	case podworker.StartContainer:
		return s.startContainer(ctx, pod, a)
	case podworker.KillContainer:
		return podworker.Result{}, s.killContainer(ctx, pod, a)
	case podworker.RemoveContainer:
		return podworker.Result{}, s.removeContainer(ctx, pod, a)
	case podworker.ResizePod:
		return podworker.Result{}, s.resizePod(ctx, pod)
	case podworker.Teardown:
		return podworker.Result{}, s.teardown(ctx, pod)
	case podworker.Forget:
		return podworker.Result{}, s.forget(ctx, pod)
	}
	return podworker.Result{}, fmt.Errorf("unknown action %q", a.Kind)
}

func (s *Steps) gate(uid types.UID) *gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gates[uid]
	if !ok {
		g = &gate{opened: make(chan struct{})}
		s.gates[uid] = g
	}
	return g
}

func (s *Steps) closeGate(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gates, uid)
}

func (s *Steps) warn(pod *corev1.Pod, container, reason, message string) {
	s.cfg.Record(pod, container, corev1.EventTypeWarning, reason, message)
}

// sandboxID of a pod: its UID.
func sandboxID(pod *corev1.Pod) string { return string(pod.UID) }
