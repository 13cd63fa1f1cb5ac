package command

import "testing"

func TestGCPercent(t *testing.T) {
	for name, c := range map[string]struct {
		live uint64
		want int
	}{
		"nothing measured yet":                       {0, 1000},
		"a small heap may hold the whole allowance":  {32 << 20, 200},
		"a heap of the allowance is as Go has it":    {64 << 20, 100},
		"a large heap does not hold less than Go's":  {1 << 30, 100},
		"a tiny heap is not let grow without bounds": {1 << 20, 1000},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
