package podworker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Error is a failed action whose reason is for the container's waiting state.
type Error struct {
	Reason  string
	Message string
	// Image that could not be had, if that is why.
	Image string
	Err   error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// Host is what workers of one node share.
type Host interface {
	// Observe tells what is known of a pod; podIPs are its addresses, as far as
	// the worker knows them.
	Observe(ctx context.Context, pod *corev1.Pod, podIPs []string) (Observed, error)
	// Do carries out an action. Addresses are the pod's, once they are known.
	Do(ctx context.Context, pod *corev1.Pod, a Action) (Result, error)
	// Hurry moves the deadline of a KillContainer that is under way.
	Hurry(a Action)
	// Record sends an event.
	Record(pod *corev1.Pod, e Event)
	// Report is called after every turn, with what a status is made of.
	Report(ctx context.Context, pod *corev1.Pod, o Observed, s *State, removed bool)
	// Gone is called when nothing is left of a pod that is not in the API.
	Gone(pod *corev1.Pod)
}

// Result of an action.
type Result struct{ PodIPs []string }

// Worker drives one pod.
type Worker struct {
	host  Host
	clock clock.WithDelayedExecution
	ctx   context.Context //nolint:containedctx // The agent's life: turns begin by timers and by what others see.
	tasks *sync.WaitGroup

	mu      sync.Mutex
	pod     *corev1.Pod
	removed bool
	state   *State
	turning bool // a turn is under way
	again   bool // and another is needed
	timer   clock.Timer
	cancels map[string]context.CancelFunc
	stopped bool
}

// NewWorker begins with a pod; nothing happens before Poke. Turns and actions
// end with ctx and are counted in tasks.
func NewWorker(ctx context.Context, pod *corev1.Pod, host Host, clk clock.WithDelayedExecution, tasks *sync.WaitGroup) *Worker {
	w := &Worker{host: host, clock: clk, ctx: ctx, tasks: tasks, pod: pod, state: NewState(clk.Now()), cancels: map[string]context.CancelFunc{}}
	w.state.rememberResize(pod)
	return w
}

// Pod gives the pod as the worker knows it.
func (w *Worker) Pod() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// Update takes a newer pod, or that it is gone from the API.
func (w *Worker) Update(pod *corev1.Pod, removed bool) {
	w.mu.Lock()
	if pod != nil {
		w.pod = pod
	}
	w.removed = w.removed || removed
	ending := w.removed || w.pod.DeletionTimestamp != nil
	if ending {
		w.cancelStarts()
	}
	w.mu.Unlock()
	w.Poke()
}

// cancelStarts ends pulls and waits of starts that nobody needs any more; w.mu
// is held.
func (w *Worker) cancelStarts() {
	for key, a := range w.state.Busy {
		if a.Kind == StartContainer || a.Kind == PrepareVolumes {
			w.cancels[key]()
		}
	}
}

// End ends the pod for a reason of the node's; the first reason counts.
func (w *Worker) End(e Ending) {
	w.mu.Lock()
	if w.state.Ending == nil {
		e.Since = w.clock.Now()
		w.state.Ending = &e
		w.cancelStarts()
	}
	w.mu.Unlock()
	w.Poke()
}

// Rejected says that the node did not take the pod.
func (w *Worker) Rejected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Ending != nil && w.state.Ending.Rejected
}

// Removed says that the pod is gone from the API.
func (w *Worker) Removed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed
}

// RetryNow brings the next attempt of failed starts and volumes forward.
func (w *Worker) RetryNow() {
	w.mu.Lock()
	for key, f := range w.state.Failures {
		if f.Reason != CrashLoopBackOff && f.Reason != ImagePullBackOff && f.Reason != ErrImagePull {
			f.Time = time.Time{}
			w.state.Failures[key] = f
		}
	}
	w.mu.Unlock()
	w.Poke()
}

// Poke asks for a turn.
func (w *Worker) Poke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil || w.stopped {
		return
	}
	if w.turning {
		w.again = true
		return
	}
	w.turning = true
	w.tasks.Go(w.turns)
}

// turns goes on until there is nothing new.
func (w *Worker) turns() {
	for {
		w.turn()
		w.mu.Lock()
		if !w.again || w.ctx.Err() != nil || w.stopped {
			w.turning = false
			w.mu.Unlock()
			return
		}
		w.again = false
		w.mu.Unlock()
	}
}

func (w *Worker) turn() {
	w.mu.Lock()
	pod, ips := w.pod, w.state.PodIPs
	w.mu.Unlock()
	observed, err := w.host.Observe(w.ctx, pod, ips)
	if err != nil {
		if w.ctx.Err() == nil {
			klog.FromContext(w.ctx).Error(err, "Observing pod", "Pod", klog.KObj(pod))
			w.wakeAt(w.clock.Now().Add(time.Second))
		}
		return
	}
	w.mu.Lock()
	if w.pod != pod {
		w.again = true // newer: observed belongs to the older one, but is true of it as well
		pod = w.pod
	}
	removed := w.removed
	out := Next(w.state, Input{Pod: pod, Removed: removed, Observed: observed, Now: w.clock.Now()})
	for _, a := range out.Actions {
		w.begin(pod, a)
	}
	snapshot := w.state.clone()
	w.mu.Unlock()
	for _, e := range out.Events {
		w.host.Record(pod, e)
	}
	w.wakeAt(out.Wake)
	if snapshot.Forgotten {
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
		w.host.Gone(pod)
		return
	}
	w.host.Report(w.ctx, pod, observed, snapshot, removed)
}

// clone copies what a status is made of.
func (s *State) clone() *State {
	c := *s
	c.Failures = make(map[string]Failure, len(s.Failures))
	for k, f := range s.Failures {
		c.Failures[k] = f
	}
	c.Busy = make(map[string]Action, len(s.Busy))
	for k, a := range s.Busy {
		c.Busy[k] = a
	}
	c.Replaced = maps.Clone(s.Replaced)
	c.Backoffs = nil
	return &c
}

// begin runs an action; w.mu is held.
func (w *Worker) begin(pod *corev1.Pod, a Action) {
	key := a.Key()
	if _, ok := w.state.Busy[key]; ok {
		w.state.Busy[key] = a
		w.host.Hurry(a)
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.state.Busy[key] = a
	w.cancels[key] = cancel
	w.tasks.Go(func() {
		result, err := w.host.Do(ctx, pod, a)
		canceled := ctx.Err() != nil
		cancel()
		w.finish(a, result, err, canceled)
		w.Poke()
	})
}

func (w *Worker) finish(a Action, result Result, err error, canceled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := a.Key()
	delete(w.state.Busy, key)
	delete(w.cancels, key)
	if len(result.PodIPs) > 0 {
		w.state.PodIPs = result.PodIPs
	}
	if err != nil {
		if canceled {
			return
		}
		f := Failure{Message: err.Error(), Time: w.clock.Now(), Count: w.state.Failures[key].Count + 1}
		var reasoned *Error
		if errors.As(err, &reasoned) {
			f.Reason, f.Message, f.Image = reasoned.Reason, reasoned.Message, reasoned.Image
		}
		w.state.Failures[key] = f
		return
	}
	delete(w.state.Failures, key)
	switch a.Kind {
	case AttachNetwork:
		w.state.Attached = true
	case PrepareVolumes:
		w.state.VolumesReady = true
	case Teardown:
		w.state.TornDown = true
		w.state.Attached, w.state.VolumesReady = false, false
	case Forget:
		w.state.Forgotten = true
	}
}

func (w *Worker) wakeAt(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if at.IsZero() || w.ctx.Err() != nil {
		return
	}
	w.timer = w.clock.AfterFunc(max(0, at.Sub(w.clock.Now())), w.Poke)
}

// Close forgets the timer; turns and actions have ended with the context.
func (w *Worker) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// Ended says that a pod that ended well or badly has nothing running and
// nothing left to tear down.
func (s *State) Ended() bool { return s.TornDown && len(s.Busy) == 0 }
