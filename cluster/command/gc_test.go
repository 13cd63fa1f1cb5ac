package command

import (
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for name, c := range map[string]struct {
		live  uint64
		since time.Duration
		want  int
	}{
		"nothing measured yet":                                    {0, 0, 1000},
		"a small heap may hold the whole allowance":               {32 << 20, 0, 200},
		"a heap of the allowance is as Go has it":                 {64 << 20, 0, 100},
		"a large heap does not hold less than Go's":               {1 << 30, 0, 100},
		"a tiny heap is not let grow without bounds":              {1 << 20, 0, 1000},
		"a heap that took long to fill gets less":                 {32 << 20, time.Minute, 50},
		"a tiny heap that idles is as Go has it":                  {1 << 20, time.Minute, 100},
		"a large heap that idles is not collected all the time":   {1 << 30, time.Minute, 10},
		"a heap that is collected every other second has no idle": {32 << 20, 2 * time.Second, 200},
	} {
		if got := gcPercent(c.live, 64<<20, c.since); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestBusyAllowance(t *testing.T) {
	for name, c := range map[string]struct{ machine, want uint64 }{
		"a machine that nothing is known of has the least": {0, 32 << 20},
		"a small machine has the least":                    {512 << 20, 32 << 20},
		"a laptop gives a part":                            {2 << 30, 64 << 20},
		"a large machine gives no more than is of use":     {64 << 30, 256 << 20},
	} {
		if got := busyAllowance(c.machine); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
