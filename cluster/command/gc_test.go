package command

import (
	"runtime"
	"testing"
	"time"
)

func TestPercentOfAnAllowance(t *testing.T) {
	a := allowance{bytes: 64 << 20, least: 100, most: 1000}
	for name, c := range map[string]struct {
		live uint64
		want int
	}{
		"nothing measured yet":                        {0, 1000},
		"a small heap may hold the whole allowance":   {32 << 20, 200},
		"a heap of the allowance holds as much again": {64 << 20, 100},
		"a large heap does not hold less than that":   {1 << 30, 100},
		"a tiny heap is not let grow without bounds":  {1 << 20, 1000},
	} {
		if got := a.percent(c.live); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestAllowanceAfterACollection(t *testing.T) {
	t.Cleanup(func() { _ = setTimerSlack(0) }) // it fails without the right to, as before
	processors := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(processors) })
	work := busy(8 << 30)
	for name, c := range map[string]struct {
		settled, resting bool
		rounds           int32 // before
		since            time.Duration
		want             allowance
		calm             bool // it is looked at again if no work comes
	}{
		"at the start little at a time":                     {false, false, 7, 0, starting, false},
		"more collections than a start takes are for work":  {false, false, startRounds, 0, work, true},
		"with work a part of the machine":                   {true, false, 20, 2 * time.Second, work, true},
		"when what is allowed took long to fill it idles":   {true, false, 20, time.Minute, idle, false},
		"when it was collected because it settled it idles": {true, true, 20, 0, idle, false},
	} {
		all := &collections{busy: work, calm: time.AfterFunc(time.Hour, func() {})}
		all.calm.Stop()
		all.rounds.Store(c.rounds)
		all.settled.Store(c.settled)
		all.resting.Store(c.resting)
		if got := all.allowance(c.since); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		if calm := all.calm.Stop(); calm != c.calm {
			t.Errorf("%s: looks again: %t", name, calm)
		}
		if spare := runtime.GOMAXPROCS(0) > processors; spare != c.calm {
			t.Errorf("%s: a processor more: %t", name, spare)
		}
		all.setSpare(false)
		if got := runtime.GOMAXPROCS(0); got != processors {
			t.Errorf("%s: %d processors when it is taken back, %d before", name, got, processors)
		}
	}
}

func TestBusy(t *testing.T) {
	for name, c := range map[string]struct{ machine, want uint64 }{
		"a machine that nothing is known of has the least": {0, 32 << 20},
		"a small machine has the least":                    {512 << 20, 32 << 20},
		"a laptop gives a part":                            {2 << 30, 64 << 20},
		"a large machine gives no more than is of use":     {64 << 30, 256 << 20},
	} {
		if got := busy(c.machine).bytes; got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
