package queue

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/schedulinggates"
)

// The times of kube-scheduler.
const (
	InitialBackoff    = time.Second
	MaxBackoff        = 10 * time.Second
	MaxUnschedulable  = 5 * time.Minute
	unschedulableTick = 30 * time.Second
)

// Item is a pod in the queue.
type Item struct {
	Pod *cache.Pod
	// Added is when the pod was first seen, Since when it came to where it is.
	Added, Since time.Time
	// Attempts counts the cycles, Failures those without a node or with an
	// error since the last success.
	Attempts, Failures int
	// Rejectors are the rules that rejected the pod in its last cycle.
	Rejectors []string

	failed    bool // by an error, not for want of a node
	rejectors uint64
	state     state
	place     int // in its heap
	seq       uint64
}

type state uint8

const (
	taken state = iota // by a cycle
	active
	backoff
	unschedulable
	gated
)

// Queue is safe for use by many goroutines; one of them Pops.
type Queue struct {
	clock  clock.WithTicker
	wakers []plugins.Waker

	mu            sync.Mutex
	cond          *sync.Cond
	items         map[types.UID]*Item // all but those taken
	active        ordered
	backoff       ordered // for want of a node
	failing       ordered // after an error
	unschedulable map[types.UID]*Item
	rejected      [64]int // unschedulable items by rejector
	seq           uint64

	// current is the item whose cycle is under way, without the lock; the rest
	// is what happened meanwhile, which the cycle may not have seen.
	current *Item
	events  []plugins.Event
	newer   *cache.Pod // a newer version of the pod
	changed bool       // in a way that may help
	deleted bool

	kick chan struct{} // the first of backoff changed
}

// nodeWaker stands for the rejection of a pod for want of any node.
type nodeWaker struct{}

// NoNodes is the name to give to Requeue when there is no node at all.
const NoNodes = "NoNodes"

func (nodeWaker) Name() string                          { return NoNodes }
func (nodeWaker) WakesOn() plugins.Kind                 { return plugins.NodeAdded }
func (nodeWaker) Wakes(*cache.Pod, *plugins.Event) bool { return true }

// New makes a queue. Wakers are asked which events make a pod that they
// rejected worth a try; there can be 63 of them.
func New(c clock.WithTicker, wakers []plugins.Waker) *Queue {
	q := &Queue{
		clock:         c,
		wakers:        append([]plugins.Waker{nodeWaker{}}, wakers...),
		items:         map[types.UID]*Item{},
		unschedulable: map[types.UID]*Item{},
		active:        ordered{less: byPriority},
		backoff:       ordered{less: byExpiry},
		failing:       ordered{less: byExpiry},
		kick:          make(chan struct{}, 1),
	}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func byPriority(a, b *Item) bool {
	if a.Pod.Priority != b.Pod.Priority {
		return a.Pod.Priority > b.Pod.Priority
	}
	if !a.Since.Equal(b.Since) {
		return a.Since.Before(b.Since)
	}
	return a.seq < b.seq
}

func byExpiry(a, b *Item) bool { return a.expiry().Before(b.expiry()) }

// expiry is when the item's backoff time ends.
func (i *Item) expiry() time.Time { return i.Since.Add(i.Backoff()) }

// Backoff is how long the item waits after its last failure: 1 s, doubled for
// each failure up to 10 s.
func (i *Item) Backoff() time.Duration {
	if i.Failures == 0 {
		return 0
	}
	d := InitialBackoff
	for n := 1; n < i.Failures && d < MaxBackoff; n++ {
		d *= 2
	}
	return min(d, MaxBackoff)
}

// Add takes in a pod that needs a node. A pod that is there already is
// updated.
func (q *Queue) Add(p *cache.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.items[p.UID] != nil || q.isCurrent(p.UID) {
		q.update(p)
		return
	}
	now := q.clock.Now()
	item := &Item{Pod: p, Added: now, Since: now}
	if schedulinggates.Gated(p.Pod) {
		q.put(item, gated)
		return
	}
	q.put(item, active)
}

// Update takes in a changed pod. It does nothing for pods that are not here.
func (q *Queue) Update(p *cache.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.update(p)
}

func (q *Queue) update(p *cache.Pod) {
	if q.isCurrent(p.UID) {
		q.changed = q.changed || mayHelp(q.current.Pod, p)
		q.newer = p
		return
	}
	item := q.items[p.UID]
	if item == nil {
		return
	}
	old := item.Pod
	item.Pod = p
	switch item.state {
	case active:
		q.active.fix(item)
	case gated:
		if !schedulinggates.Gated(p.Pod) {
			q.take(item)
			item.Since = q.clock.Now()
			q.put(item, active)
		}
	case unschedulable:
		if mayHelp(old, p) {
			q.wake(item)
		}
	case backoff, taken:
	}
}

// Delete forgets a pod.
func (q *Queue) Delete(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isCurrent(uid) {
		q.deleted = true
		return
	}
	if item := q.items[uid]; item != nil {
		q.take(item)
	}
}

// Pop waits for the next pod to schedule; nil when ctx ends. The item's cycle
// lasts until Requeue, Done or the next Pop.
func (q *Queue) Pop(ctx context.Context) *Item {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock() // so that it does not fall between the check and the wait
		defer q.mu.Unlock()
		q.cond.Broadcast()
	})()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finish()
	for ctx.Err() == nil {
		if item := q.next(); item != nil {
			q.take(item)
			item.Attempts++
			q.current = item
			return item
		}
		q.cond.Wait()
	}
	return nil
}

// next is the first active item; without any, the first that serves backoff
// time for want of a node: nobody gains if it waits while nothing else is to
// do. Errors are waited for, since they would repeat.
func (q *Queue) next() *Item {
	if item := q.active.first(); item != nil {
		return item
	}
	return q.backoff.first()
}

// Done ends an item's cycle with success, so far: it will be bound.
func (q *Queue) Done(item *Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current == item {
		q.finish()
	}
}

// Requeue brings back an item that fits nowhere because of the rules named. It
// says whether the pod still exists as far as the queue knows.
func (q *Queue) Requeue(item *Item, rules []string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bringBack(item, rules, false)
}

// RequeueError brings back an item whose cycle or bind ended in an error.
func (q *Queue) RequeueError(item *Item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bringBack(item, nil, true)
}

func (q *Queue) bringBack(item *Item, rules []string, failed bool) bool {
	events, changed, deleted := []plugins.Event(nil), false, false
	if q.current == item {
		events, changed, deleted = q.events, q.changed, q.deleted
		if q.newer != nil {
			item.Pod = q.newer
		}
		defer q.finish()
	}
	if deleted {
		return false
	}
	if other := q.items[item.Pod.UID]; other != nil { // a newer version came in
		return true
	}
	item.Since = q.clock.Now()
	item.Failures++
	item.failed = failed
	item.Rejectors, item.rejectors = rules, q.mask(rules)
	switch {
	case schedulinggates.Gated(item.Pod.Pod):
		q.put(item, gated)
	case failed || changed || item.rejectors == 0 || q.missed(item, events):
		q.put(item, backoff)
	default:
		q.put(item, unschedulable)
	}
	return true
}

// missed tells whether an event during the cycle would have woken the item.
func (q *Queue) missed(item *Item, events []plugins.Event) bool {
	for i := range events {
		if q.wakes(item, &events[i], q.interested(events[i].Kind)) {
			return true
		}
	}
	return false
}

// Event tells of something that may make pods schedulable.
func (q *Queue) Event(e plugins.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	interested := q.interested(e.Kind)
	if interested == 0 {
		return
	}
	if q.current != nil {
		q.events = append(q.events, e)
	}
	if !q.anyRejectedBy(interested) {
		return
	}
	for _, item := range q.unschedulable {
		if q.wakes(item, &e, interested) {
			q.wake(item)
		}
	}
}

// FlushBackoff makes pods active whose backoff time is over, and says how long
// to wait for the next; 0 when there is none.
func (q *Queue) FlushBackoff() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	var next time.Duration
	for _, h := range []*ordered{&q.backoff, &q.failing} {
		for {
			item := h.first()
			if item == nil {
				break
			}
			if wait := item.expiry().Sub(now); wait > 0 {
				if next == 0 || wait < next {
					next = wait
				}
				break
			}
			q.take(item)
			q.put(item, active)
		}
	}
	return next
}

// FlushUnschedulable gives pods another try that waited for five minutes
// without any event: an event may have been misjudged.
func (q *Queue) FlushUnschedulable() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for _, item := range q.unschedulable {
		if now.Sub(item.Since) >= MaxUnschedulable {
			q.wake(item)
		}
	}
}

// Run flushes in time until ctx ends.
func (q *Queue) Run(ctx context.Context) {
	ticker := q.clock.NewTicker(unschedulableTick)
	defer ticker.Stop()
	for {
		var expired <-chan time.Time
		var timer clock.Timer
		if wait := q.FlushBackoff(); wait > 0 {
			timer = q.clock.NewTimer(wait)
			expired = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-expired:
		case <-q.kick:
		case <-ticker.C():
			q.FlushUnschedulable()
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// Wake gives an unschedulable pod another try.
func (q *Queue) Wake(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if item := q.unschedulable[uid]; item != nil {
		q.wake(item)
	}
}

// Lengths are the numbers of pods by where they wait.
type Lengths struct{ Active, Backoff, Unschedulable, Gated int }

// Lengths counts the pods that wait.
func (q *Queue) Lengths() Lengths {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := Lengths{Active: q.active.Len(), Backoff: q.backoff.Len() + q.failing.Len(), Unschedulable: len(q.unschedulable)}
	l.Gated = len(q.items) - l.Active - l.Backoff - l.Unschedulable
	return l
}

// wake moves an unschedulable item on.
func (q *Queue) wake(item *Item) {
	q.take(item)
	if item.expiry().After(q.clock.Now()) {
		q.put(item, backoff)
		return
	}
	q.put(item, active)
}

func (q *Queue) put(item *Item, to state) {
	q.seq++
	item.state, item.seq = to, q.seq
	q.items[item.Pod.UID] = item
	switch to {
	case active:
		q.active.add(item)
		q.cond.Signal()
	case backoff:
		q.backoffOf(item).add(item)
		q.cond.Signal()
		select {
		case q.kick <- struct{}{}:
		default:
		}
	case unschedulable:
		q.unschedulable[item.Pod.UID] = item
		q.countRejectors(item, 1)
	case gated, taken:
	}
}

func (q *Queue) take(item *Item) {
	switch item.state {
	case active:
		q.active.remove(item)
	case backoff:
		q.backoffOf(item).remove(item)
	case unschedulable:
		delete(q.unschedulable, item.Pod.UID)
		q.countRejectors(item, -1)
	case gated, taken:
	}
	item.state = taken
	delete(q.items, item.Pod.UID)
}

func (q *Queue) backoffOf(item *Item) *ordered {
	if item.failed {
		return &q.failing
	}
	return &q.backoff
}

func (q *Queue) isCurrent(uid types.UID) bool { return q.current != nil && q.current.Pod.UID == uid }

func (q *Queue) finish() {
	q.current, q.newer, q.changed, q.deleted = nil, nil, false, false
	clear(q.events)
	q.events = q.events[:0]
}
