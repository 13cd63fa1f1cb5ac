package probe

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// worker is one probe of one container.
type worker struct {
	prober    *Prober
	container *container
	kind      Kind
	spec      *corev1.Probe
	timer     clock.Timer

	last result // of the latest probe
	run  int    // how many times in a row
}

// wait sets the timer; the Prober's lock is held. What the timer calls must not
// block it.
func (w *worker) wait(d time.Duration) {
	w.timer = w.prober.cfg.Clock.AfterFunc(d, func() { go w.fire() })
}

// fire asks once, notes the answer and sets the timer for the next time.
func (w *worker) fire() {
	p, c := w.prober, w.container
	p.mu.Lock()
	if c.workers[w.kind] != w || p.closed {
		p.mu.Unlock()
		return
	}
	p.running.Add(1)
	p.mu.Unlock()
	defer p.running.Done()

	begun := p.cfg.Clock.Now()
	answer, output, err := p.ask(w)
	if p.ctx.Err() != nil {
		return
	}
	w.report(answer, output, err)

	c.notify.Lock()
	defer c.notify.Unlock()
	change, changed := w.note(answer, output, err, begun)
	if changed {
		p.cfg.Changed(change)
	}
}

// report records the event of a probe that did not simply succeed.
func (w *worker) report(answer result, output string, err error) {
	p := w.prober
	if p.cfg.Event == nil {
		return
	}
	switch {
	case err != nil:
		p.cfg.Event(w.container.target, corev1.EventTypeWarning, ReasonUnhealthy,
			fmt.Sprintf("%s probe errored and resulted in %s state: %v", w.kind, answer, err))
	case answer == warning:
		p.cfg.Event(w.container.target, corev1.EventTypeWarning, ReasonWarning,
			fmt.Sprintf("%s probe warning: %s", w.kind, output))
	case answer == failure:
		p.cfg.Event(w.container.target, corev1.EventTypeWarning, ReasonUnhealthy,
			fmt.Sprintf("%s probe failed: %s", w.kind, output))
	}
}

// note counts an answer and gives what it changes. Without an answer nothing is
// counted.
func (w *worker) note(answer result, output string, err error, begun time.Time) (Change, bool) {
	p, c := w.prober, w.container
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.workers[w.kind] != w {
		return Change{}, false // Stopped while it asked.
	}
	before := c.state
	if err == nil && answer != unknown {
		if answer == warning {
			answer = success
		}
		if w.last == answer {
			w.run++
		} else {
			w.last, w.run = answer, 1
		}
		c.state = next(c.state, w.kind, w.spec, c.target.Container, answer, w.run)
	}
	switch {
	case c.state.Failed != "" && c.state.Failed == w.kind:
		// It is going to be killed: no more is asked.
		delete(c.workers, w.kind)
	case w.kind == Startup && c.state.Started:
		delete(c.workers, w.kind)
		// Its age counts from the start of the container, so that what waited for
		// this is asked at once unless a longer delay was wanted.
		p.startWhenStarted(c, 0)
	default:
		due := begun.Add(periodOf(w.spec)).Sub(p.cfg.Clock.Now())
		w.wait(max(0, due))
	}
	if c.state == before {
		return Change{}, false
	}
	change := Change{Target: c.target, Kind: w.kind, State: c.state}
	if answer == failure {
		change.Message = output
	}
	return change, true
}

// next is the state of a container after an answer was given run times in a
// row.
func next(s State, kind Kind, spec *corev1.Probe, c *corev1.Container, answer result, run int) State {
	switch answer {
	case success:
		if run < int(spec.SuccessThreshold) {
			return s
		}
		switch kind {
		case Readiness:
			s.Ready = true
		case Startup:
			s.Started = true
			s.Ready = c.ReadinessProbe == nil
		}
	case failure:
		if run < int(spec.FailureThreshold) {
			return s
		}
		if kind == Readiness {
			s.Ready = false
		} else {
			s.Failed = kind
		}
	}
	return s
}
