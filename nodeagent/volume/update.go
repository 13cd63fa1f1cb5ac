package volume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"golang.org/x/sync/errgroup"
)

const (
	// retryFailed is when files that could not be brought up to date are tried
	// again, if nothing changes before.
	retryFailed = 30 * time.Second
	// maxUpdates bounds how many pods are updated at once: enough that one
	// which waits for the API server does not hold up the others.
	maxUpdates = 8
)

// Run brings changes of ConfigMaps, Secrets, tokens and certificates into the
// files of prepared pods until ctx ends.
func (v *Volumes) Run(ctx context.Context) error {
	if v.certificates != nil {
		defer v.certificates.Stop()
	}
	var updates errgroup.Group
	updates.SetLimit(maxUpdates)
	update := func(uids []types.UID, changed bool) {
		for _, uid := range uids {
			updates.Go(func() error {
				v.refresh(ctx, uid)
				if changed && v.cfg.Changed != nil {
					v.cfg.Changed(uid)
				}
				return nil
			})
		}
	}
	for ctx.Err() == nil {
		var due <-chan time.Time
		stop := func() bool { return true }
		if next, some := v.nextDue(); some {
			wait := next.Sub(v.cfg.Clock.Now())
			if wait <= 0 {
				update(v.takeDue(), false)
				continue
			}
			timer := v.cfg.Clock.NewTimer(wait)
			due, stop = timer.C(), timer.Stop
		}
		select {
		case <-ctx.Done():
		case <-v.wake:
		case <-v.cfg.Objects.Changed():
			update(v.cfg.Objects.TakeChanged(), true)
		case <-due:
			update(v.takeDue(), false)
		}
		stop()
	}
	return updates.Wait()
}

// Update takes note of a pod's new labels, annotations or addresses, for its
// downward API files.
func (v *Volumes) Update(ctx context.Context, pod *corev1.Pod) {
	p := v.known(pod.UID)
	if p == nil {
		return
	}
	p.mu.Lock()
	p.pod = pod
	p.mu.Unlock()
	v.refresh(ctx, pod.UID)
}

// refresh writes what has changed of a pod's volumes.
func (v *Volumes) refresh(ctx context.Context, uid types.UID) {
	p := v.known(uid)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.pod == nil {
		return
	}
	next := time.Time{}
	for i := range p.pod.Spec.Volumes {
		volume := &p.pod.Spec.Volumes[i]
		if !p.ready[volume.Name] {
			continue
		}
		if err := v.rewrite(ctx, p.pod, volume); err != nil {
			next = v.cfg.Clock.Now().Add(retryFailed)
			v.tell(ctx, p.pod, volume.Name, err)
		}
	}
	v.plan(uid, earliest(next, v.next(p.pod)))
}

func (v *Volumes) rewrite(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	content, err := v.content(ctx, pod, volume)
	if err != nil {
		return err
	}
	dir, err := v.dir(pod.UID, volume)
	if err != nil {
		return err
	}
	return v.write(dir, content, fsGroup(pod))
}

func (v *Volumes) tell(ctx context.Context, pod *corev1.Pod, name string, err error) {
	if v.cfg.Failed != nil {
		for _, failure := range Failures(setUpFailed(name, err)) {
			v.cfg.Failed(pod, failure)
		}
	}
	klog.FromContext(ctx).V(1).Info("Volume keeps its old content", "Pod", klog.KObj(pod), "volume", name, "reason", err.Error())
}

// next is when a pod's content is to be looked at again though nobody says that
// it has changed, zero for never.
func (v *Volumes) next(pod *corev1.Pod) time.Time {
	return earliest(v.tokens.next(pod.UID), v.nextBundles(pod))
}

// plan notes when a pod is to be looked at again, zero for never.
func (v *Volumes) plan(uid types.UID, at time.Time) {
	v.mu.Lock()
	if at.IsZero() {
		delete(v.due, uid)
	} else {
		v.due[uid] = at
	}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default: // Run has been told already.
	}
}

// nextDue is the earliest time at which something is due.
func (v *Volumes) nextDue() (time.Time, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var next time.Time
	for _, at := range v.due {
		next = earliest(next, at)
	}
	return next, !next.IsZero()
}

// takeDue gives the pods with something due.
func (v *Volumes) takeDue() []types.UID {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.cfg.Clock.Now()
	var due []types.UID
	for uid, at := range v.due {
		if !now.Before(at) {
			due = append(due, uid)
			delete(v.due, uid)
		}
	}
	return due
}

// earliest of two times, of which zero ones do not count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
