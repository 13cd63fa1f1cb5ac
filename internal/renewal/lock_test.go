package renewal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/internal/renewal"
)

// counted counts what is written.
type counted struct {
	resourcelock.Interface
	n    int
	last resourcelock.LeaderElectionRecord
	err  error
}

func (c *counted) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	c.n++
	c.last = r
	return c.err
}

func TestEvery(t *testing.T) {
	for _, c := range []struct {
		name                         string
		lease, deadline, retry, want time.Duration
	}{
		{"ours", 2000, 1300, 100, 600},
		{"upstream's, whose lease would end before", 15000, 10000, 2000, 5000},
	} {
		if got := renewal.Every(c.lease, c.deadline, c.retry); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestAHolderWritesNowAndThen(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	below := &counted{}
	lock := &renewal.Lock{Interface: below, Every: time.Second, Clock: clock}
	mine := resourcelock.LeaderElectionRecord{HolderIdentity: "me", AcquireTime: metav1.NewTime(clock.Now())}
	released := mine
	released.HolderIdentity = ""
	refused := errors.New("refused")
	for _, step := range []struct {
		name  string
		after time.Duration
		write resourcelock.LeaderElectionRecord
		err   error
		want  int
	}{
		{"to acquire is written", 0, mine, nil, 1},
		{"the next try is not", 400 * time.Millisecond, mine, nil, 1},
		{"one after long enough is", 600 * time.Millisecond, mine, nil, 2},
		{"one that fails is told", time.Second, mine, refused, 3},
		{"and tried again at once", 0, mine, nil, 4},
		{"to release is written", 0, released, nil, 5},
	} {
		clock.Step(step.after)
		below.err = step.err
		if err := lock.Update(t.Context(), step.write); !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.name, err)
		}
		if below.n != step.want {
			t.Errorf("%s: %d were written, want %d", step.name, below.n, step.want)
		}
	}
}

func TestAHolderThatIsAloneWritesSeldom(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	below := &counted{}
	alone := true
	lock := &renewal.Lock{Interface: below, Every: time.Second, Clock: clock, Alone: func() bool { return alone }}
	mine := resourcelock.LeaderElectionRecord{HolderIdentity: "me", LeaseDurationSeconds: 2, AcquireTime: metav1.NewTime(clock.Now())}
	released := resourcelock.LeaderElectionRecord{LeaseDurationSeconds: 1, AcquireTime: mine.AcquireTime}
	for _, step := range []struct {
		name    string
		after   time.Duration
		alone   bool
		write   resourcelock.LeaderElectionRecord
		want    int
		seconds int
	}{
		{"a Lease that nobody waits for is good for longer", 0, true, mine, 1, 15},
		{"and is not written soon", 4 * time.Second, true, mine, 1, 15},
		{"but before it ends", time.Second, true, mine, 2, 15},
		{"when others come they are told at once what they wait for", 100 * time.Millisecond, false, mine, 3, 2},
		{"and it is written often", time.Second, false, mine, 4, 2},
		{"when they have gone it is as before", 100 * time.Millisecond, true, mine, 5, 15},
		{"what is given up is as the elector says", 0, true, released, 6, 1},
	} {
		clock.Step(step.after)
		alone = step.alone
		if err := lock.Update(t.Context(), step.write); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if below.n != step.want || below.last.LeaseDurationSeconds != step.seconds {
			t.Errorf("%s: %d were written, the last for %d s, want %d and %d s", step.name, below.n, below.last.LeaseDurationSeconds, step.want, step.seconds)
		}
	}
}

func TestAHolderThatIsAloneLeadsOnForAWhile(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	below := &counted{}
	alone := true
	lock := &renewal.Lock{Interface: below, Every: time.Second, Clock: clock, Alone: func() bool { return alone }}
	mine := resourcelock.LeaderElectionRecord{HolderIdentity: "me", LeaseDurationSeconds: 2, AcquireTime: metav1.NewTime(clock.Now())}
	slow := errors.New("timeout")
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, "l", errors.New("changed"))
	for _, step := range []struct {
		name    string
		after   time.Duration
		alone   bool
		err     error
		written int
		fault   bool
	}{
		{"to acquire must succeed", 0, true, slow, 1, true},
		{"and does", 0, true, nil, 2, false},
		{"a disk that is slow does not matter", 5 * time.Second, true, slow, 3, false},
		{"it is tried again at once", 100 * time.Millisecond, true, slow, 4, false},
		{"and written in the end", time.Second, true, nil, 5, false},
		{"the next time is later", time.Second, true, nil, 5, false},
		{"a Lease that another has written is looked at", 4 * time.Second, true, conflict, 6, true},
		{"when others are there it must be written", 0, false, slow, 7, true},
		{"also at last when nobody is", 10 * time.Second, true, slow, 8, true},
	} {
		clock.Step(step.after)
		alone, below.err = step.alone, step.err
		if err := lock.Update(t.Context(), mine); (err != nil) != step.fault {
			t.Errorf("%s: %v", step.name, err)
		}
		if below.n != step.written {
			t.Errorf("%s: %d were written, want %d", step.name, below.n, step.written)
		}
	}
}
