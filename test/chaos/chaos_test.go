package chaos_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

var (
	chaosTime = flag.Duration("chaos.time", 15*time.Second, "for how long masters are troubled; each kind of trouble comes once at least")
	chaosSeed = flag.Uint64("chaos.seed", 1, "what the order of troubles and of reads and writes comes from")
)

// trouble is something that happens to a master.
type trouble struct {
	name string
	do   func(t *testing.T, c *masters, m *master) (heal func())
}

var troubles = []trouble{
	{"killed", func(t *testing.T, c *masters, m *master) func() {
		m.kill()
		return func() { m.start(t, nil) }
	}},
	{"cut off", func(t *testing.T, _ *masters, m *master) func() {
		if err := m.process.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		m.paused = true
		return func() {
			m.paused = false
			if err := m.process.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"robbed of its disk", func(t *testing.T, c *masters, m *master) func() {
		m.kill()
		if err := os.RemoveAll(filepath.Join(m.dir, "etcd")); err != nil {
			t.Fatal(err)
		}
		return func() { m.start(t, c.joining(m)) }
	}},
}

// trouble lasts for this long: longer than any time after which a leader is
// given up.
const lasts = 4 * time.Second

func TestChaos(t *testing.T) {
	t.Logf("seed %d", *chaosSeed)
	random := rand.New(rand.NewPCG(*chaosSeed, 0))
	c := startMasters(t, 3)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := &load{}
	group := l.start(ctx, t, c, *chaosSeed)
	_, watcher := c.way(t, c.access(t, c.all[0]), 0)
	end := time.Now().Add(*chaosTime)
	var worst time.Duration
	for i, order := 0, random.Perm(len(troubles)); i < len(troubles) || time.Now().Before(end); i++ {
		x := troubles[random.IntN(len(troubles))]
		if i < len(order) {
			x = troubles[order[i]]
		}
		m := c.all[random.IntN(len(c.all))]
		if i == 0 {
			m = leading(t, c, watcher) // the worst case comes at least once
		}
		l.spread(c)
		begin := time.Now()
		heal := x.do(t, c, m)
		acted := act(t, watcher, i)
		time.Sleep(max(0, lasts-time.Since(begin))) // how long it lasts is part of the trouble
		heal()
		for _, m := range c.all {
			c.ready(t, m)
		}
		out := l.longest(begin, time.Now())
		worst = max(worst, out)
		t.Logf("%s %s: no answer for %d ms at most, controllers acted after %d ms, all well after %d ms",
			m.name, x.name, out.Milliseconds(), acted.Milliseconds(), time.Since(begin).Milliseconds())
	}
	stop()
	group.Wait()
	t.Logf("%d operations, %d without an answer, none for %d ms at most", len(l.history), l.failed, worst.Milliseconds())
	switch result, info := porcupine.CheckOperationsVerbose(register, l.history, time.Minute); result {
	case porcupine.Illegal:
		file := filepath.Join(os.TempDir(), "skiff-chaos.html")
		if err := porcupine.VisualizePath(register, info, file); err != nil {
			file = err.Error()
		}
		t.Errorf("what clients saw is not what a register answers: an acknowledged write was lost or an old value came back (%s)", file)
	case porcupine.Unknown:
		t.Error("the history was not checked within a minute")
	}
}

// leading is the master whose controllers act.
func leading(t *testing.T, c *masters, k kubernetes.Interface) *master {
	t.Helper()
	lease, err := k.CoordinationV1().Leases("kube-system").Get(t.Context(), "kube-controller-manager", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.all {
		if lease.Spec.HolderIdentity != nil && filepath.Base(*lease.Spec.HolderIdentity) == m.name {
			return m
		}
	}
	t.Fatalf("%v leads", lease.Spec.HolderIdentity)
	return nil
}

// act waits until the controllers do something for a new object, and says how
// long that took.
func act(t *testing.T, k kubernetes.Interface, i int) time.Duration {
	t.Helper()
	begin := time.Now()
	ns := "after-" + string(rune('a'+i%26)) + "-" + begin.Format("150405")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, opTimeout)
		_, err := k.CoreV1().Namespaces().Create(once, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			_, err = k.CoreV1().ServiceAccounts(ns).Get(once, "default", metav1.GetOptions{})
		}
		stop()
		if err == nil {
			return time.Since(begin)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("controllers do not act: %v", err)
		}
	}
}
