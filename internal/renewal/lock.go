package renewal

import (
	"context"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
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

// Lock is a lock whose holder writes it at most once in Every. client-go's
// elector believes that each of its tries is written: it gives up its lead
// Every later than its own RenewDeadline says, so that both together must be
// less than the lease's duration.
type Lock struct {
	resourcelock.Interface
	Every time.Duration
	Clock clock.PassiveClock

	written resourcelock.LeaderElectionRecord
	at      time.Time
}

// Create implements resourcelock.Interface.
func (l *Lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.wrote(r, l.Interface.Create(ctx, r))
}

// Update implements resourcelock.Interface.
func (l *Lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	same := r.HolderIdentity == l.written.HolderIdentity && r.LeaderTransitions == l.written.LeaderTransitions && r.AcquireTime.Equal(&l.written.AcquireTime)
	if same && l.Clock.Since(l.at) < l.Every {
		return nil
	}
	return l.wrote(r, l.Interface.Update(ctx, r))
}

func (l *Lock) wrote(r resourcelock.LeaderElectionRecord, err error) error {
	if err == nil {
		l.written, l.at = r, l.Clock.Now()
	} else {
		l.at = time.Time{} // the next try writes
	}
	return err
}
