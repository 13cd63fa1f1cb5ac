package chaos_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster/balancer"
)

// access is what is done to the register of a key.
type access struct {
	key, value string
	write      bool
}

// register answers each key with what was last written to it.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		keys := map[string][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(access).key
			keys[k] = append(keys[k], o)
		}
		var out [][]porcupine.Operation
		for _, k := range keys {
			out = append(out, k)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		a := input.(access)
		if a.write {
			return true, a.value
		}
		return output.(string) == state.(string), state
	},
	DescribeOperation: func(input, output any) string {
		a := input.(access)
		if a.write {
			return fmt.Sprintf("%s := %s", a.key, a.value)
		}
		return fmt.Sprintf("%s = %s", a.key, output)
	},
}

const (
	clients = 6
	keys    = 4
	// opTimeout is how long a client waits for one answer before it asks again.
	opTimeout = time.Second
)

// load reads and writes until its context ends.
type load struct {
	begin time.Time

	ways []*balancer.Balancer // of the clients

	mu       sync.Mutex
	history  []porcupine.Operation
	outages  []outage
	answered [clients]time.Time // begin of what was last answered
	failed   int
}

// outage is a time in which a client had no answer, and what it had instead.
type outage struct {
	from, to time.Time
	course   []string
}

func (o outage) took() time.Duration { return o.to.Sub(o.from) }

func (l *load) now() int64 { return int64(time.Since(l.begin)) }

func name(key int) string { return fmt.Sprintf("register-%d", key) }

// start makes the registers and begins.
func (l *load) start(ctx context.Context, t *testing.T, c *skiffCluster, k kubernetes.Interface, seed uint64) *sync.WaitGroup {
	t.Helper()
	l.begin = time.Now()
	for i := range keys {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name(i)}, Data: map[string]string{"value": ""}}
		if _, err := k.CoreV1().ConfigMaps("default").Create(ctx, m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	group := &sync.WaitGroup{}
	for i := range clients {
		way, k := c.way(t, i)
		l.ways = append(l.ways, way)
		group.Go(func() { way.Run(ctx) })
		group.Go(func() { l.client(ctx, k, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	return group
}

func (l *load) client(ctx context.Context, k kubernetes.Interface, id int, random *rand.Rand) {
	maps := k.CoreV1().ConfigMaps("default")
	var o outage // from the first failure after a success
	for n := 0; ctx.Err() == nil; n++ {
		a := access{key: name(random.IntN(keys)), write: random.IntN(2) == 0}
		if a.write {
			a.value = fmt.Sprintf("%d-%d", id, n)
		}
		done := porcupine.Operation{ClientId: id, Input: a, Output: "", Call: l.now()}
		begin := time.Now()
		once, cancel := context.WithTimeout(ctx, opTimeout)
		var err error
		if a.write {
			m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: a.key}, Data: map[string]string{"value": a.value}}
			_, err = maps.Update(once, m, metav1.UpdateOptions{})
		} else {
			var m *corev1.ConfigMap
			if m, err = maps.Get(once, a.key, metav1.GetOptions{}); err == nil {
				done.Output = m.Data["value"]
			}
		}
		cancel()
		done.Return = l.now()
		if err != nil {
			if o.from.IsZero() {
				o.from = begin
			}
			o.course = append(o.course, fmt.Sprintf("after %d ms: %v", time.Since(o.from).Milliseconds(), err))
			done.Return = math.MaxInt64 // it may still be done
		}
		l.mu.Lock()
		if err == nil || a.write {
			l.history = append(l.history, done)
		}
		switch {
		case err != nil:
			l.failed++
		case !o.from.IsZero():
			o.to = time.Now()
			o.course = append(o.course, fmt.Sprintf("an answer to what was asked after %d ms", begin.Sub(o.from).Milliseconds()))
			l.outages, o = append(l.outages, o), outage{}
			l.answered[id] = begin
		default:
			l.answered[id] = begin
		}
		l.mu.Unlock()
		pause(ctx, *chaosPause)
	}
}

// spread has every master serve as many clients, which stay where they are well,
// and waits until each has had an answer there.
func (l *load) spread(t *testing.T, c *skiffCluster) {
	t.Helper()
	for i, w := range l.ways {
		for range c.masters {
			if w.Servers()[0] == c.servers(i)[0] {
				break
			}
			w.Drop()
		}
	}
	since := time.Now()
	eventually(t, "all clients have an answer", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, at := range l.answered {
			if at.Before(since) {
				return fmt.Errorf("client %d has had no answer for %s", i, time.Since(at))
			}
		}
		return nil
	})
}

// longest is the longest outage of any client in a time.
func (l *load) longest(from, to time.Time) outage {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out outage
	for _, o := range l.outages {
		if o.to.After(from) && o.from.Before(to) && o.took() > out.took() {
			out = o
		}
	}
	return out
}
