package etcd

import (
	"time"

	"k8s.io/utils/clock"
)

// together is a clock whose long timers end at whole seconds. The watch cache
// of every kind looks once a second for watchers that are due a bookmark: sixty
// of them, each at its own moment, wake the process sixty times a second, which
// costs more than what they do.
type together struct{ clock.RealClock }

// NewTimer implements clock.Clock.
func (c together) NewTimer(d time.Duration) clock.Timer {
	return togetherTimer{c.RealClock.NewTimer(untilWhole(c.Now(), d))}
}

type togetherTimer struct{ clock.Timer }

// Reset implements clock.Timer.
func (t togetherTimer) Reset(d time.Duration) bool {
	return t.Timer.Reset(untilWhole(time.Now(), d))
}

// untilWhole is d, or for a second and more the time until the whole second
// before d is over; until the one after it where that would be too soon.
func untilWhole(now time.Time, d time.Duration) time.Duration {
	if d < time.Second {
		return d
	}
	whole := d - time.Duration(now.Add(d).UnixNano()%int64(time.Second))
	if whole < d/2 {
		whole += time.Second
	}
	return whole
}
