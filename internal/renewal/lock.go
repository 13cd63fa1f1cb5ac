package renewal

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// tries is at how many of its tries a holder writes once.
const tries = 6

// Every is how often a holder writes, given an elector's figures: seldom enough
// to be cheap, and often enough that a holder has given up before the lease is
// anybody else's.
func Every(lease, renewDeadline, retry time.Duration) time.Duration {
	return min(tries*retry, lease-renewDeadline)
}

// aloneLease is how long a Lease is good that nobody else could take over,
// aloneEvery how often its holder writes it, and aloneDeadline how long it leads
// on while it can't: Kubernetes' own figures, and what [Every] makes of them.
const (
	aloneLease    = 15 * time.Second
	aloneEvery    = 5 * time.Second
	aloneDeadline = 10 * time.Second
)

// AlonePause is for [Lock.Pause]: how long it takes at most until those who have
// come are told what they wait for. It must be less than an elector's
// RenewDeadline.
const AlonePause = time.Second

// Lock is a lock whose holder writes it at most once in Every. client-go's
// elector believes that each of its tries is written: it gives up its lead
// Every later than its own RenewDeadline says, so that both together must be
// less than the lease's duration.
type Lock struct {
	resourcelock.Interface
	Every time.Duration
	Clock clock.PassiveClock
	// Alone, if not nil, is asked at every try whether nobody else could act in
	// the holder's place. While that is so it writes seldom, for a Lease that is
	// good for longer, and a disk that is slow for some seconds does not cost it
	// the lead; when it ends, the next try writes one of the elector's duration,
	// which others go by.
	Alone func() bool
	// Pause is how long a try takes that writes nothing since the holder is
	// alone: to look as often as others would costs the idle holder more than
	// all that it writes.
	Pause time.Duration

	written resourcelock.LeaderElectionRecord
	at      time.Time // of the write
	again   bool      // the try after it has failed
}

// Create implements resourcelock.Interface.
func (l *Lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	r, _, _ = l.plan(r)
	return l.wrote(r, l.Interface.Create(ctx, r))
}

// Update implements resourcelock.Interface.
func (l *Lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	r, every, pause := l.plan(r)
	same := r.HolderIdentity == l.written.HolderIdentity && r.LeaderTransitions == l.written.LeaderTransitions &&
		r.LeaseDurationSeconds == l.written.LeaseDurationSeconds && r.AcquireTime.Equal(&l.written.AcquireTime)
	if !same || l.again || l.Clock.Since(l.at) >= every {
		err := l.wrote(r, l.Interface.Update(ctx, r))
		if err != nil && same && l.leadsOn(r, err) {
			klog.FromContext(ctx).Info("The Lease is not written, nobody else could take it", "reason", err.Error())
			return nil
		}
		return err
	}
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done(): // the elector looks
		}
	}
	return nil
}

// plan is what is written of a record, how long that is good enough, and how
// long a try takes meanwhile. A record without a holder gives the Lease up.
func (l *Lock) plan(r resourcelock.LeaderElectionRecord) (write resourcelock.LeaderElectionRecord, every, pause time.Duration) {
	if r.HolderIdentity == "" || l.Alone == nil || !l.Alone() {
		return r, l.Every, 0
	}
	r.LeaseDurationSeconds = int(aloneLease / time.Second)
	return r, aloneEvery, l.Pause
}

// leadsOn tells whether the lead outlasts a write that failed: the Lease that is
// there is good for long enough, and it is not another's.
func (l *Lock) leadsOn(r resourcelock.LeaderElectionRecord, err error) bool {
	return r.LeaseDurationSeconds == int(aloneLease/time.Second) && l.Clock.Since(l.at) < aloneDeadline &&
		!apierrors.IsConflict(err) && !apierrors.IsNotFound(err)
}

func (l *Lock) wrote(r resourcelock.LeaderElectionRecord, err error) error {
	l.again = err != nil
	if err == nil {
		l.written, l.at = r, l.Clock.Now()
	}
	return err
}
