package observe

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/logs"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/probe"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Limits of termination messages, the kubelet's.
const (
	maxMessage      = 4096
	maxLogLines     = 80
	maxLogMessage   = 2048
	relistEvery     = time.Minute
	reconnectsAfter = time.Second
)

// Config of an Observer.
type Config struct {
	Runtime runtime.Runtime
	Prober  *probe.Prober
	// TerminationLog gives the file of a container's last message; nil where
	// pods have no files.
	TerminationLog func(uid types.UID, container string, attempt int) string
}

// Observer watches the runtime.
type Observer struct {
	cfg Config

	mu       sync.Mutex
	messages map[string]string // of containers that have ended
}

// New makes an Observer.
func New(cfg Config) *Observer { return &Observer{cfg: cfg, messages: map[string]string{}} }

// Run calls changed with the pod of every container that changes, until ctx
// ends. After a break all pods are reported.
func (o *Observer) Run(ctx context.Context, changed func(uid types.UID)) error {
	ticker := time.NewTicker(relistEvery)
	defer ticker.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for ctx.Err() == nil {
			err := o.cfg.Runtime.Watch(ctx, func(id string) { o.report(ctx, id, changed) })
			if ctx.Err() != nil {
				return
			}
			klog.FromContext(ctx).Error(err, "Watching containers")
			select {
			case <-ctx.Done():
			case <-time.After(reconnectsAfter):
			}
			o.reportAll(ctx, changed)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			o.reportAll(ctx, changed)
		}
	}
}

func (o *Observer) report(ctx context.Context, id string, changed func(uid types.UID)) {
	_, containers, err := o.cfg.Runtime.List(ctx)
	if err != nil {
		return // reported by the next turn of any pod
	}
	for i := range containers {
		if containers[i].ID == id {
			changed(containers[i].PodUID)
			return
		}
	}
}

// reportAll reports every pod that the runtime knows, and drops the messages of
// containers that are gone.
func (o *Observer) reportAll(ctx context.Context, changed func(uid types.UID)) {
	sandboxes, containers, err := o.cfg.Runtime.List(ctx)
	if err != nil {
		return
	}
	uids := map[types.UID]bool{}
	ids := map[string]bool{}
	for i := range sandboxes {
		uids[sandboxes[i].UID] = true
	}
	for i := range containers {
		uids[containers[i].PodUID] = true
		ids[containers[i].ID] = true
	}
	o.mu.Lock()
	for id := range o.messages {
		if !ids[id] {
			delete(o.messages, id)
		}
	}
	o.mu.Unlock()
	for uid := range uids {
		changed(uid)
	}
}

// Observe gives what is known of a pod, and keeps its probes in step.
func (o *Observer) Observe(ctx context.Context, pod *corev1.Pod, podIPs []string) (podworker.Observed, error) {
	sandbox, containers, err := o.cfg.Runtime.Pod(ctx, string(pod.UID))
	if err != nil {
		return podworker.Observed{}, fmt.Errorf("observe pod: %w", err)
	}
	out := podworker.Observed{Sandbox: sandbox, Containers: containers}
	if pod.DeletionTimestamp != nil && o.cfg.Prober != nil {
		o.cfg.Prober.StopForTermination(pod.UID)
	}
	for i := range containers {
		c := &containers[i]
		switch c.State {
		case runtime.Running:
			o.probe(pod, c, podIPs)
		case runtime.Exited:
			if o.cfg.Prober != nil {
				o.cfg.Prober.Stop(c.ID)
			}
			o.readMessage(pod, c)
		}
	}
	if o.cfg.Prober != nil {
		out.Probes = o.cfg.Prober.State
	}
	return out, nil
}

func (o *Observer) probe(pod *corev1.Pod, c *runtime.Container, podIPs []string) {
	if o.cfg.Prober == nil || pod.DeletionTimestamp != nil {
		return
	}
	spec := environment.ContainerByName(pod, c.Name)
	if spec == nil || c.Kind == runtime.Ephemeral {
		return
	}
	if len(podIPs) == 0 && pod.Status.PodIP != "" {
		podIPs = []string{pod.Status.PodIP}
	}
	if len(podIPs) == 0 && (spec.LivenessProbe != nil || spec.ReadinessProbe != nil || spec.StartupProbe != nil) {
		return // asked again once the pod is connected
	}
	t := probe.Target{Pod: pod, Container: spec, ID: c.ID, StartedAt: c.StartedAt}
	if len(podIPs) > 0 {
		t.PodIP = podIPs[0]
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if s := &list[i]; len(s.ContainerID) > len(c.ID) && s.ContainerID[len(s.ContainerID)-len(c.ID):] == c.ID {
				t.WasStarted, t.WasReady = s.Started != nil && *s.Started, s.Ready
			}
		}
	}
	o.cfg.Prober.Start(t)
}

// readMessage reads what a container left, once, before its files are removed.
func (o *Observer) readMessage(pod *corev1.Pod, c *runtime.Container) {
	if o.cfg.TerminationLog == nil {
		return
	}
	o.mu.Lock()
	_, known := o.messages[c.ID]
	o.mu.Unlock()
	if known {
		return
	}
	message := ""
	if f, err := os.Open(o.cfg.TerminationLog(pod.UID, c.Name, c.Attempt)); err == nil {
		data, err := io.ReadAll(io.LimitReader(f, maxMessage))
		f.Close()
		if err == nil {
			message = string(data)
		}
	}
	spec := environment.ContainerByName(pod, c.Name)
	if message == "" && c.ExitCode != 0 && spec != nil && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError && c.LogPath != "" {
		if tail, err := logs.Tail(c.LogPath, maxLogLines, maxLogMessage); err == nil {
			message = tail
		}
	}
	o.mu.Lock()
	o.messages[c.ID] = message
	o.mu.Unlock()
}

// TerminationMessage gives what a container that has ended left.
func (o *Observer) TerminationMessage(c *runtime.Container) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.messages[c.ID]
}
