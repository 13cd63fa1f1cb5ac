package etcd

import (
	"testing"
	"time"
)

func TestUntilWhole(t *testing.T) {
	for name, c := range map[string]struct{ now, wait, want time.Duration }{
		"a short time is as it is":                        {300, 999, 999},
		"a long one ends with a second":                   {300, 1000, 700},
		"a jittered one ends with the same":               {300, 1250, 700},
		"from a whole second to the next":                 {2000, 1250, 1000},
		"from a little after it to the next":              {2001, 1100, 999},
		"one that would end too soon ends a second later": {600, 1100, 1400},
		"fifteen seconds":                                 {2400, 15000, 14600},
	} {
		got := untilWhole(time.Unix(1000, 0).Add(c.now*time.Millisecond), c.wait*time.Millisecond)
		if got != c.want*time.Millisecond {
			t.Errorf("%s: %s, want %s", name, got, c.want*time.Millisecond)
		}
	}
}
