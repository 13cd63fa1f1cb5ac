package node

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

var usual = Rates{Normal: 0.1, Reduced: 0.01, LargeCluster: 50, Unhealthy: 0.55}

func fails(string) bool { return true }

func TestZoneState(t *testing.T) {
	for _, c := range []struct {
		name  string
		count census
		want  zoneState
	}{
		{"all ready", census{10, 0}, zoneNormal},
		{"no nodes", census{0, 0}, zoneNormal},
		{"none ready", census{0, 1}, zoneFull},
		{"two of three failing are too few to tell", census{1, 2}, zoneNormal},
		{"three of five failing", census{2, 3}, zonePartial},
		{"just below the threshold", census{10, 12}, zoneNormal},
		{"at the threshold", census{9, 11}, zonePartial},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.count.state(0.55); got != c.want {
				t.Errorf("state is %s, want %s", got, c.want)
			}
		})
	}
}

func TestNodesAreGivenUpAtTheRate(t *testing.T) {
	z := newZones(usual)
	z.update(map[string]census{"a": {10, 3}}, at(0))
	for i := range 3 {
		if !z.add("a", fmt.Sprint("n", i)) {
			t.Fatal("a node was not queued")
		}
	}
	if z.add("a", "n1") {
		t.Error("a node was queued twice")
	}
	for _, step := range []struct {
		at   int
		want []string
	}{
		{0, []string{"n0"}}, // the first at once
		{9, nil},            // then one in 10 s
		{10, []string{"n1"}},
		{15, nil},
		{20, []string{"n2"}},
	} {
		got, wait := z.due(at(step.at), fails)
		if !slices.Equal(got, step.want) {
			t.Errorf("at %d s %v are given up, want %v", step.at, got, step.want)
		}
		if len(got) == 1 && step.at < 20 && (wait < 10*time.Second || wait > 10*time.Second+10*time.Millisecond) {
			t.Errorf("at %d s the next is in %v, want 10 s", step.at, wait)
		}
	}
	if _, wait := z.due(at(1000), fails); wait != 0 {
		t.Errorf("with nothing queued the next turn is in %v", wait)
	}
}

func TestANodeThatTheCacheShowsAsReadyCostsNoTurn(t *testing.T) {
	z := newZones(usual)
	z.update(map[string]census{"a": {10, 2}}, at(0))
	z.add("a", "n0")
	z.add("a", "n1")
	if got, wait := z.due(at(0), func(string) bool { return false }); len(got) != 0 || wait != 0 {
		t.Errorf("%v are given up, next in %v", got, wait)
	}
	if got, _ := z.due(at(1), func(name string) bool { return name == "n1" }); !slices.Equal(got, []string{"n1"}) {
		t.Errorf("%v are given up, want the one that fails", got)
	}
	if got, wait := z.due(at(2), fails); len(got) != 0 || wait < 8*time.Second {
		t.Errorf("%v are given up, next in %v", got, wait)
	}
	if got, _ := z.due(at(11), fails); !slices.Equal(got, []string{"n0"}) {
		t.Errorf("%v are given up, want the one that kept its place", got)
	}
}

func TestANodeThatIsReadyAgainIsNotGivenUp(t *testing.T) {
	z := newZones(usual)
	z.update(map[string]census{"a": {10, 1}}, at(0))
	z.add("a", "n0")
	z.remove("n0")
	if got, _ := z.due(at(0), fails); len(got) != 0 {
		t.Errorf("%v are given up", got)
	}
}

func TestDisruption(t *testing.T) {
	type look struct {
		counts map[string]census
		want   disruption
		rates  map[string]float64
	}
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"a small zone that is partly ill gives up none", []look{
			{map[string]census{"a": {10, 0}}, noDisruption, map[string]float64{"a": 0.1}},
			{map[string]census{"a": {3, 7}}, noDisruption, map[string]float64{"a": 0}},
			{map[string]census{"a": {9, 1}}, noDisruption, map[string]float64{"a": 0.1}},
		}},
		{"a large one gives up slowly", []look{
			{map[string]census{"a": {20, 31}}, noDisruption, map[string]float64{"a": 0.01}},
		}},
		{"a zone that is fully ill beside a good one gives up at the usual rate", []look{
			{map[string]census{"a": {5, 0}, "b": {0, 5}}, noDisruption, map[string]float64{"a": 0.1, "b": 0.1}},
		}},
		{"when all is ill nothing is given up until something is well", []look{
			{map[string]census{"a": {5, 0}, "b": {5, 0}}, noDisruption, nil},
			{map[string]census{"a": {0, 5}, "b": {0, 5}}, begins, map[string]float64{"a": 0, "b": 0}},
			{map[string]census{"a": {0, 5}, "b": {0, 5}}, noDisruption, map[string]float64{"a": 0, "b": 0}},
			{map[string]census{"a": {1, 4}, "b": {0, 5}}, ends, map[string]float64{"a": 0, "b": 0.1}},
		}},
		{"a controller that begins with all ill gives up nothing", []look{
			{map[string]census{"a": {0, 1}}, begins, map[string]float64{"a": 0}},
		}},
		{"a zone that vanishes is forgotten", []look{
			{map[string]census{"a": {1, 0}, "b": {0, 1}}, noDisruption, nil},
			{map[string]census{"b": {0, 1}}, noDisruption, map[string]float64{"b": 0.1}},
		}},
		{"no nodes are no disruption", []look{
			{map[string]census{}, noDisruption, nil},
			{map[string]census{"a": {1, 0}}, noDisruption, map[string]float64{"a": 0.1}},
			{map[string]census{}, noDisruption, nil},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := newZones(usual)
			for i, look := range c.looks {
				if got := z.update(look.counts, at(5*i)); got != look.want {
					t.Errorf("look %d: disruption %v, want %v", i, got, look.want)
				}
				if len(z.byKey) != len(look.counts) {
					t.Errorf("look %d: zones are %v", i, z.byKey)
				}
				for key, rate := range look.rates {
					if got := z.byKey[key].limiter.rate; float32(got) != float32(rate) {
						t.Errorf("look %d: zone %s gives up %v nodes a second, want %v", i, key, got, rate)
					}
				}
			}
		})
	}
}

func TestAStoppedZoneGivesUpNothing(t *testing.T) {
	z := newZones(usual)
	z.update(map[string]census{"a": {3, 7}}, at(0))
	z.add("a", "n0")
	if got, wait := z.due(at(1000), fails); len(got) != 0 || wait != 0 {
		t.Errorf("%v are given up, next in %v", got, wait)
	}
	z.update(map[string]census{"a": {9, 1}}, at(1005))
	if got, _ := z.due(at(1005), fails); !slices.Equal(got, []string{"n0"}) {
		t.Errorf("%v are given up when the zone is well again", got)
	}
}

func TestANegativeRateGivesUpNothing(t *testing.T) {
	none := usual
	none.Normal = -1
	z := newZones(none)
	z.update(map[string]census{"a": {10, 1}}, at(0))
	z.add("a", "n0")
	for _, now := range []int{0, 1000} {
		if got, wait := z.due(at(now), fails); len(got) != 0 || wait != 0 {
			t.Errorf("after %d s: %v are given up, next in %v", now, got, wait)
		}
	}
}
