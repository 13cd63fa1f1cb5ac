package node

import (
	"slices"
	"time"
)

// zoneState is how many nodes of a zone are ready.
type zoneState string

const (
	zoneInitial zoneState = "Initial"
	zoneNormal  zoneState = "Normal"
	zonePartial zoneState = "PartialDisruption" // many are not ready
	zoneFull    zoneState = "FullDisruption"    // none is ready
)

// Rates are how fast nodes that fail are given up, in nodes per second. Negative:
// none are.
type Rates struct {
	// Normal is for zones that are well, and for those where all nodes fail
	// while other zones do not.
	Normal float32
	// Reduced is for zones that are partly ill and have more nodes than
	// LargeCluster; smaller ones give up none.
	Reduced float32
	// LargeCluster is a number of nodes.
	LargeCluster int32
	// Unhealthy is from which share of failing nodes on a zone is partly ill.
	Unhealthy float32
}

// census counts a zone's nodes.
type census struct{ ready, notReady int }

func (c census) state(unhealthy float32) zoneState {
	switch {
	case c.ready == 0 && c.notReady > 0:
		return zoneFull
	case c.notReady > 2 && float32(c.notReady)/float32(c.ready+c.notReady) >= unhealthy:
		return zonePartial
	}
	return zoneNormal
}

// zone is what is kept of one.
type zone struct {
	state   zoneState
	limiter bucket
	queue   []string // nodes to give up, in order
}

// zones decides how fast nodes are given up. When every node of the cluster
// fails, more likely we are cut off than they, and nothing is given up.
type zones struct {
	rates Rates
	byKey map[string]*zone
}

func newZones(rates Rates) *zones { return &zones{rates: rates, byKey: map[string]*zone{}} }

// zone returns the zone, made when it is new.
func (z *zones) zone(key string) *zone {
	if z.byKey[key] == nil {
		z.byKey[key] = &zone{state: zoneInitial, limiter: bucket{rate: float64(z.rates.Normal), tokens: 1}}
	}
	return z.byKey[key]
}

// add queues a node to be given up; false when it is queued already.
func (z *zones) add(key, node string) bool {
	zone := z.zone(key)
	if slices.Contains(zone.queue, node) {
		return false
	}
	zone.queue = append(zone.queue, node)
	return true
}

// remove takes a node out of all queues (its zone may have changed).
func (z *zones) remove(node string) {
	for _, zone := range z.byKey {
		zone.queue = slices.DeleteFunc(zone.queue, func(name string) bool { return name == node })
	}
}

// due returns the nodes whose turn it is, and how long until the next one's;
// zero when there is none, or none may be given up. A queued node of which fails
// is not true keeps its place and costs no turn: the cache may be behind
// what was just written.
func (z *zones) due(now time.Time, fails func(node string) bool) (nodes []string, wait time.Duration) {
	for _, zone := range z.byKey {
		var kept []string
		waiting := false
		for _, node := range zone.queue {
			switch {
			case !fails(node):
				kept = append(kept, node)
			case zone.limiter.take(now):
				nodes = append(nodes, node)
			default:
				kept = append(kept, node)
				waiting = true
			}
		}
		zone.queue = kept
		if !waiting {
			continue
		}
		if next := zone.limiter.wait(); next > 0 && (wait == 0 || next < wait) {
			wait = next
		}
	}
	slices.Sort(nodes)
	return nodes, wait
}

// disruption is a change that concerns all nodes.
type disruption int

const (
	noDisruption disruption = iota
	begins                  // from now on no node is ready
	ends                    // some are again
)

// update takes in how the zones are now.
func (z *zones) update(counts map[string]census, now time.Time) disruption {
	allNow, allBefore := true, true
	for key, count := range counts {
		z.zone(key)
		allNow = allNow && count.state(z.rates.Unhealthy) == zoneFull
	}
	for key, zone := range z.byKey {
		if _, exists := counts[key]; !exists {
			delete(z.byKey, key)
			continue
		}
		allBefore = allBefore && zone.state == zoneFull
	}
	if allNow && allBefore {
		return noDisruption
	}
	if allNow {
		for _, zone := range z.byKey {
			zone.state = zoneFull
			zone.queue = nil
			zone.limiter.setRate(0, now)
		}
		return begins
	}
	for key, zone := range z.byKey {
		state := counts[key].state(z.rates.Unhealthy)
		if zone.state == state && !allBefore {
			continue
		}
		zone.state = state
		zone.limiter.setRate(z.rate(state, counts[key]), now)
	}
	if allBefore {
		return ends
	}
	return noDisruption
}

func (z *zones) rate(state zoneState, count census) float32 {
	if state != zonePartial {
		return z.rates.Normal
	}
	if count.ready+count.notReady > int(z.rates.LargeCluster) {
		return z.rates.Reduced
	}
	return 0
}

// bucket is a token bucket that holds at most one token.
type bucket struct {
	rate   float64 // tokens per second
	tokens float64
	last   time.Time
}

func (b *bucket) refill(now time.Time) {
	if passed := now.Sub(b.last).Seconds(); !b.last.IsZero() && passed > 0 && b.rate > 0 {
		b.tokens = min(1, b.tokens+passed*b.rate)
	}
	b.last = now
}

func (b *bucket) take(now time.Time) bool {
	b.refill(now)
	if b.tokens < 1 || b.rate <= 0 {
		return false
	}
	b.tokens--
	return true
}

// wait is the time from the last take until the next token, zero when there will
// be none.
func (b *bucket) wait() time.Duration {
	if b.rate <= 0 {
		return 0
	}
	// A millisecond more, so that rounding does not leave the token a hair short.
	return time.Duration((1-b.tokens)/b.rate*float64(time.Second)) + time.Millisecond
}

func (b *bucket) setRate(rate float32, now time.Time) {
	b.refill(now)
	b.rate = float64(rate)
}
