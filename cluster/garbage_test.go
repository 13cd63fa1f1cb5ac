package cluster

import "testing"

func TestStartPercent(t *testing.T) {
	for _, c := range []struct {
		name string
		live uint64
		want int
	}{
		{"nothing has been measured yet", 0, 12800},
		{"a small heap may hold the allowance in garbage", 32 << 20, 400},
		{"a large heap collects as Go does by itself", 1 << 30, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := startPercent(c.live); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
