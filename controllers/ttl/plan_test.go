package ttl

import "testing"

func TestPlanLevel(t *testing.T) {
	for _, c := range []struct {
		name         string
		level, nodes int
		seconds      int
	}{
		{"a small cluster asks each time", 0, 100, 0},
		{"a larger one less often", 0, 101, 15},
		{"one that shrinks a little keeps its level", 1, 95, 15},
		{"one that shrinks more goes down", 1, 89, 0},
		{"many nodes at once go up at once", 0, 5000, 300},
		{"and down at once", 5, 10, 0},
		{"there is a highest level", 0, 100000, 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := levels[planLevel(c.level, c.nodes)].seconds; got != c.seconds {
				t.Errorf("%d s, want %d", got, c.seconds)
			}
		})
	}
}
