package podworker

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/probe"
	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// The kubelet's periods.
const (
	crashDelay    = 10 * time.Second
	maxCrashDelay = 5 * time.Minute
	// crashReset is how long a container must have run well for its delay to
	// begin anew.
	crashReset = 2 * maxCrashDelay
	imageDelay = 10 * time.Second
	// configDelay is between attempts to start a container whose configuration
	// is wrong; changed ConfigMaps and Secrets bring the next one forward.
	configDelay = 10 * time.Second
	// setupDelay doubles up to maxSetupDelay for sandbox, network, volumes.
	setupDelay    = 500 * time.Millisecond
	maxSetupDelay = 2 * time.Minute
	minGrace      = 1 // seconds, of a pod deleted by force
	defaultGrace  = 30
)

// Reasons of waiting states that a start fails with.
const (
	ErrImagePull               = "ErrImagePull"
	ImagePullBackOff           = "ImagePullBackOff"
	ErrImageNeverPull          = "ErrImageNeverPull"
	InvalidImageName           = "InvalidImageName"
	CreateContainerConfigError = "CreateContainerConfigError"
	CreateContainerError       = "CreateContainerError"
	RunContainerError          = "RunContainerError"
	PostStartHookError         = "PostStartHookError"
	CrashLoopBackOff           = "CrashLoopBackOff"
)

// DeadlineExceeded is the reason of a pod that ran too long.
const (
	DeadlineExceeded        = "DeadlineExceeded"
	deadlineExceededMessage = "Pod was active on the node longer than the specified deadline"
)

// turn is one call of Next.
type turn struct {
	Input
	state *State
	plan  resources.Plan // of cgroups
	out   Output
}

// Next decides. It changes state only as to what it has decided.
func Next(state *State, in Input) Output {
	t := &turn{Input: in, state: state}
	t.noticeSandbox()
	t.noticeDeadline()
	switch {
	case t.Removed:
		t.end(t.graceOfRemoved())
		if t.stopped() && state.TornDown {
			t.do(Action{Kind: Forget})
		}
	case t.Pod.DeletionTimestamp != nil:
		t.end(t.Pod.DeletionTimestamp.Time)
	case state.Ending != nil:
		t.end(state.Ending.Since.Add(t.grace(state.Ending.Grace)))
	case ended(t.Pod), Finished(t.Pod, in.Containers, in.Sandbox, state.Replaced):
		t.end(in.Now.Add(t.grace(nil)))
	default:
		t.run()
	}
	t.removeOld()
	return t.out
}

func (t *turn) noticeSandbox() {
	if t.Sandbox == nil {
		t.state.Attached = false
		return
	}
	if !t.Sandbox.CreatedAt.Equal(t.state.SandboxTime) {
		t.state.SandboxTime = t.Sandbox.CreatedAt
		t.state.Attached = false
	}
}

func (t *turn) noticeDeadline() {
	seconds := t.Pod.Spec.ActiveDeadlineSeconds
	if seconds == nil || t.state.Ending != nil || t.Pod.DeletionTimestamp != nil || t.Removed || ended(t.Pod) {
		return
	}
	at := t.startTime().Add(time.Duration(*seconds) * time.Second)
	if t.Now.Before(at) {
		t.wake(at)
		return
	}
	t.state.Ending = &Ending{Reason: DeadlineExceeded, Message: deadlineExceededMessage, Since: t.Now}
	t.event(corev1.EventTypeNormal, DeadlineExceeded, deadlineExceededMessage, "")
}

// startTime outlives the agent in the pod's status.
func (t *turn) startTime() time.Time {
	if t.Pod.Status.StartTime != nil {
		return t.Pod.Status.StartTime.Time
	}
	return t.state.StartTime
}

// ended says that the status, once written, is final.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Finished says that all of a pod's containers have ended and none is started
// again, as those that are replaced are.
func Finished(pod *corev1.Pod, containers []runtime.Container, sandbox *runtime.Sandbox, replaced map[string]string) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if IsSidecar(c) {
			continue
		}
		latest := Latest(containers, runtime.Init, c.Name)
		if latest != nil && latest.State == runtime.Exited && latest.ExitCode != 0 && !mayRestart(pod, c, runtime.Init, latest.ExitCode) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		latest := Latest(containers, runtime.Regular, c.Name)
		if latest == nil || latest.State != runtime.Exited || mayRestart(pod, c, runtime.Regular, latest.ExitCode) || replaced[c.Name] == latest.ID {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}

func (t *turn) busy(key string) bool {
	_, ok := t.state.Busy[key]
	return ok
}

// do asks for an action unless it is under way.
func (t *turn) do(a Action) {
	if !t.busy(a.Key()) {
		t.out.Actions = append(t.out.Actions, a)
	}
}

func (t *turn) wake(at time.Time) {
	if t.out.Wake.IsZero() || at.Before(t.out.Wake) {
		t.out.Wake = at
	}
}

func (t *turn) event(kind, reason, message, container string) {
	t.out.Events = append(t.out.Events, Event{kind, reason, message, container})
}

// retry says whether an action that may have failed is due again.
func (t *turn) retry(key string, first, most time.Duration) bool {
	f, failed := t.state.Failures[key]
	if !failed {
		return true
	}
	at := f.Time.Add(doubled(first, most, f.Count-1))
	if t.Now.Before(at) {
		t.wake(at)
		return false
	}
	return true
}

func doubled(first, most time.Duration, times int) time.Duration {
	for ; times > 0 && first < most; times-- {
		first *= 2
	}
	return min(first, most)
}

// run brings a pod to life and keeps it there.
func (t *turn) run() {
	t.state.TornDown = false
	if t.Sandbox == nil {
		if t.retry(string(MakeSandbox), setupDelay, maxSetupDelay) {
			t.do(Action{Kind: MakeSandbox})
		}
	} else if !t.state.Attached && t.retry(string(AttachNetwork), setupDelay, maxSetupDelay) {
		t.do(Action{Kind: AttachNetwork})
	}
	if !t.state.VolumesReady && t.retry(string(PrepareVolumes), setupDelay, maxSetupDelay) {
		t.do(Action{Kind: PrepareVolumes})
	}
	if t.Sandbox == nil || !t.state.VolumesReady {
		t.killStrays()
		return
	}
	t.resize()
	if t.initialize() {
		for i := range t.Pod.Spec.Containers {
			t.keep(&t.Pod.Spec.Containers[i], runtime.Regular)
		}
	}
	for i := range t.Pod.Spec.EphemeralContainers {
		t.keep(EphemeralContainer(&t.Pod.Spec.EphemeralContainers[i]), runtime.Ephemeral)
	}
}

// killStrays ends containers whose sandbox is gone: its network is not theirs.
func (t *turn) killStrays() {
	if t.Sandbox != nil {
		return
	}
	for i := range t.Containers {
		c := &t.Containers[i]
		if c.State == runtime.Running {
			t.kill(c, t.Now.Add(t.grace(nil)), fmt.Sprintf("Stopping container %s", c.Name))
		}
	}
}

// initialize runs init containers one after the other, sidecars until they have
// started, and says whether the regular containers may begin.
func (t *turn) initialize() bool {
	// Once a regular container was begun in this sandbox, all init containers
	// have been through.
	begun := false
	for i := range t.Pod.Spec.Containers {
		c := Latest(t.Containers, runtime.Regular, t.Pod.Spec.Containers[i].Name)
		begun = begun || c != nil && ofThisSandbox(c, t.Sandbox)
	}
	for i := range t.Pod.Spec.InitContainers {
		c := &t.Pod.Spec.InitContainers[i]
		latest := Latest(t.Containers, runtime.Init, c.Name)
		if IsSidecar(c) {
			t.keep(c, runtime.Init)
			if begun {
				continue
			}
			if latest == nil || latest.State != runtime.Running || !t.started(latest) {
				return false
			}
			continue
		}
		if begun {
			continue
		}
		if latest != nil && latest.State == runtime.Exited && latest.ExitCode == 0 && ofThisSandbox(latest, t.Sandbox) {
			continue
		}
		t.keep(c, runtime.Init)
		return false
	}
	return true
}

// started says whether a container has passed its startup probe.
func (t *turn) started(c *runtime.Container) bool {
	if t.Probes == nil {
		return true
	}
	s, known := t.Probes(c.ID)
	return known && s.Started
}

// keep starts a container that should run and does not, and ends one that must
// be started anew.
func (t *turn) keep(c *corev1.Container, kind runtime.ContainerKind) {
	latest := Latest(t.Containers, kind, c.Name)
	if t.busy(StartKey(c.Name)) {
		return
	}
	if t.plan.Grow != nil && (latest == nil || latest.State != runtime.Running) {
		return // it would not fit into the pod's cgroup yet
	}
	switch {
	case latest == nil:
		t.start(c, kind, nil)
	case latest.State == runtime.Running:
		t.watchOver(c, kind, latest)
	case latest.State == runtime.Exited && t.state.Replaced[c.Name] == latest.ID:
		t.start(c, kind, latest)
	case latest.State == runtime.Created, latest.State == runtime.Unknown:
		// A start that was cut off by the end of an agent.
		t.start(c, kind, latest)
	case !ofThisSandbox(latest, t.Sandbox):
		// From before a reboot or of a sandbox that was lost: no fault of its own.
		if kind == runtime.Init || mayRestart(t.Pod, c, kind, latest.ExitCode) {
			t.start(c, kind, latest)
		}
	case mayRestart(t.Pod, c, kind, latest.ExitCode):
		if t.afterCrash(c, latest) {
			t.start(c, kind, latest)
		}
	}
}

func (t *turn) watchOver(c *corev1.Container, kind runtime.ContainerKind, running *runtime.Container) {
	if f, failed := t.state.Failures[StartKey(c.Name)]; failed && f.Reason == PostStartHookError {
		t.kill(running, t.Now.Add(t.grace(nil)), "FailedPostStartHook")
		return
	}
	delete(t.state.Failures, StartKey(c.Name))
	if kind != runtime.Ephemeral && running.Hash != "" && running.Hash != Hash(c) {
		t.replace(running, fmt.Sprintf("Container %s definition changed", c.Name)+", will be restarted")
		return
	}
	if slices.Contains(t.plan.Restart, c.Name) {
		t.replace(running, fmt.Sprintf("Container %s resize requires restart", c.Name))
		return
	}
	if t.Probes == nil {
		return
	}
	if s, known := t.Probes(running.ID); known && s.Failed != "" {
		again := ", will be restarted"
		if !mayRestart(t.Pod, c, kind, 1) {
			again = ""
		}
		what := map[probe.Kind]string{probe.Liveness: "liveness", probe.Startup: "startup"}[s.Failed]
		t.kill(running, t.Now.Add(t.grace(probe.GracePeriod(c, s.Failed))), fmt.Sprintf("Container %s failed %s probe%s", c.Name, what, again))
	}
}

// start asks for a container's next attempt, when a failed one is due again.
func (t *turn) start(c *corev1.Container, kind runtime.ContainerKind, latest *runtime.Container) {
	key := StartKey(c.Name)
	first, most := configDelay, configDelay
	if f := t.state.Failures[key]; f.Reason == ErrImagePull || f.Reason == ImagePullBackOff {
		first, most = imageDelay, maxCrashDelay
		// The error is shown for a moment, then that it is tried again.
		if shown := f.Time.Add(time.Second); t.Now.Before(shown) {
			t.wake(shown)
		} else if f.Reason == ErrImagePull {
			f.Reason, f.Message = ImagePullBackOff, fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", f.Image, f.Message)
			t.state.Failures[key] = f
			about := c.Name
			if f.Image != c.Image {
				about = "" // an image of the pod's volumes
			}
			t.event(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", f.Image), about)
			t.event(corev1.EventTypeWarning, "Failed", "Error: "+ImagePullBackOff, c.Name)
		}
	}
	if !t.retry(key, first, most) {
		return
	}
	t.do(Action{Kind: StartContainer, Container: c.Name, Type: kind, Attempt: attempt(t.Pod, c.Name, latest)})
}

// afterCrash says whether a container that has ended may be started now. The
// first time it may at once; then the delay doubles.
func (t *turn) afterCrash(c *corev1.Container, latest *runtime.Container) bool {
	b := t.state.Backoffs[c.Name]
	if b == nil || latest.FinishedAt.Sub(b.Since) > crashReset {
		t.state.Backoffs[c.Name] = &Backoff{Delay: crashDelay, Since: t.Now}
		return true
	}
	due := latest.FinishedAt.Add(b.Delay)
	if t.Now.Before(due) {
		t.wake(due)
		t.state.Failures[StartKey(c.Name)] = Failure{
			Reason:  CrashLoopBackOff,
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", b.Delay, c.Name, format(t.Pod)),
			Time:    due.Add(-configDelay), // due for retry exactly then
			Count:   1,
		}
		if b.Told != b.Delay {
			b.Told = b.Delay
			t.event(corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.Name, format(t.Pod)), c.Name)
		}
		return false
	}
	delete(t.state.Failures, StartKey(c.Name))
	b.Delay = min(2*b.Delay, maxCrashDelay)
	b.Since = t.Now
	return true
}

// format names a pod as the kubelet does in messages.
func format(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// grace of a pod, or the seconds given instead.
func (t *turn) grace(seconds *int64) time.Duration {
	if seconds == nil {
		seconds = t.Pod.Spec.TerminationGracePeriodSeconds
	}
	if seconds == nil {
		return defaultGrace * time.Second
	}
	return time.Duration(max(*seconds, minGrace)) * time.Second
}

// graceOfRemoved: a pod that vanished from the API was deleted by force, or by
// the end of its grace period while the agent was away.
func (t *turn) graceOfRemoved() time.Time {
	if t.state.Ending == nil {
		// Remembered so that the deadline does not move with every turn.
		t.state.Ending = &Ending{Reason: "Removed", Since: t.Now, Grace: t.Pod.DeletionGracePeriodSeconds}
	}
	return t.state.Ending.Since.Add(t.grace(t.state.Ending.Grace))
}

// end stops containers by a deadline, then tears the pod down.
func (t *turn) end(deadline time.Time) {
	if !t.stop(deadline) {
		return
	}
	for key := range t.state.Busy {
		if key != string(Teardown) && key != string(Forget) {
			return // a start that was under way may still bring a container
		}
	}
	if !t.state.TornDown && t.retry(string(Teardown), setupDelay, maxSetupDelay) {
		t.do(Action{Kind: Teardown})
	}
}

// stop kills what runs: regular and init containers first, then sidecars in
// reverse order, so that they serve the others to the end. It says whether
// nothing runs any more.
func (t *turn) stop(deadline time.Time) bool {
	if least := t.Now.Add(minGrace * time.Second); deadline.Before(least) {
		deadline = least
	}
	sidecars := map[string]bool{}
	for i := range t.Pod.Spec.InitContainers {
		if IsSidecar(&t.Pod.Spec.InitContainers[i]) {
			sidecars[t.Pod.Spec.InitContainers[i].Name] = true
		}
	}
	waiting := false
	for i := range t.Containers {
		c := &t.Containers[i]
		if c.State != runtime.Running && c.State != runtime.Created || c.Kind == runtime.Init && sidecars[c.Name] {
			continue
		}
		waiting = true
		t.kill(c, deadline, "Stopping container "+c.Name)
	}
	for i := len(t.Pod.Spec.InitContainers) - 1; i >= 0 && !waiting; i-- {
		name := t.Pod.Spec.InitContainers[i].Name
		c := Latest(t.Containers, runtime.Init, name)
		if sidecars[name] && c != nil && (c.State == runtime.Running || c.State == runtime.Created) {
			waiting = true
			t.kill(c, deadline, "Stopping container "+name)
		}
	}
	return !waiting
}

// stopped says that no container runs.
func (t *turn) stopped() bool {
	for i := range t.Containers {
		if s := t.Containers[i].State; s == runtime.Running || s == runtime.Created {
			return false
		}
	}
	return true
}

// kill asks for a container's end; one that is under way is hurried if its
// deadline is later.
func (t *turn) kill(c *runtime.Container, deadline time.Time, message string) {
	a := Action{Kind: KillContainer, Container: c.Name, ID: c.ID, Type: c.Kind, Deadline: deadline, Message: message}
	if old, ok := t.state.Busy[a.Key()]; ok {
		if deadline.Before(old.Deadline) {
			t.out.Actions = append(t.out.Actions, a)
		}
		return
	}
	if !t.retry(a.Key(), setupDelay, maxSetupDelay) {
		return
	}
	t.out.Actions = append(t.out.Actions, a)
}

// removeOld removes all but the last two attempts of each container: status
// and logs need those.
func (t *turn) removeOld() {
	for i := range t.Containers {
		c := &t.Containers[i]
		if c.State != runtime.Exited || t.busy(StartKey(c.Name)) {
			continue
		}
		newest, previous := Latest(t.Containers, c.Kind, c.Name), Previous(t.Containers, c.Kind, c.Name)
		if c.ID != newest.ID && (previous == nil || c.ID != previous.ID) {
			t.do(Action{Kind: RemoveContainer, Container: c.Name, ID: c.ID, Type: c.Kind})
		}
	}
}
