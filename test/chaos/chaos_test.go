package chaos_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

var (
	chaosTime  = flag.Duration("chaos.time", 0, "for how long there is trouble; each kind of it comes once at least")
	chaosSeed  = flag.Uint64("chaos.seed", 1, "what the order of troubles, their places and of reads and writes comes from")
	chaosKinds = flag.String("chaos.kinds", "", "only troubles whose names match this regular expression")
	chaosPause = flag.Duration("chaos.pause", 30*time.Millisecond, "for how long a client waits after an answer: members that share few processors and come back with much to catch up take long for it")
	chaosClock = flag.Duration("chaos.clock", 0, "by how much the clock of the whole machine is set forward and back again, as one more kind of trouble; 0: never")
)

// lasts is for how long a trouble lasts at least, in the first round; one of a
// master lasts until another one's controllers have acted. Later ones last for
// up to three times as long, so that nodes are missed or not.
const lasts = 3 * time.Second

// noted is from when on it is told why a client had no answer.
const noted = 2 * time.Second

func TestChaos(t *testing.T) {
	c := start(t, "--node-monitor-period", "500ms", "--node-monitor-grace-period", "4s", "--node-lease-renew-interval", "1s")
	_, k := c.way(t, 0)
	address := c.service(t, k)
	t.Logf("seed %d", *chaosSeed)
	random := rand.New(rand.NewPCG(*chaosSeed, 0))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l, f := &load{}, &flows{}
	group := l.start(ctx, t, c, k, *chaosSeed)
	asking := f.start(ctx, c, address)
	way, watcher := c.way(t, 0)
	group.Go(func() { way.Run(ctx) })

	kinds := chosen(t)
	order := random.Perm(len(kinds))
	if *chaosTime == 0 {
		order = inTurn(len(kinds))
	}
	end := time.Now().Add(*chaosTime)
	c.well(t, watcher, f, happening{what: "the start", well: func(context.Context) error { return nil }})
	var worst time.Duration
	for i := 0; i < len(kinds) || time.Now().Before(end); i++ {
		x, last := kinds[random.IntN(len(kinds))], lasts+time.Duration(random.Int64N(int64(2*lasts)))
		if i < len(kinds) {
			x, last = kinds[order[i]], lasts
		}
		if x.instant {
			last = 0
		}
		l.spread(t, c)
		f.spread(t, c)
		begin := time.Now()
		h := x.begin(t, c, watcher, random, i < len(kinds) || random.IntN(2) == 0)
		through := f.through(h.worker)
		acted := act(t, watcher, i)
		time.Sleep(max(0, last-time.Since(begin))) // how long it lasts is part of the trouble
		h.heal()
		c.well(t, watcher, f, h)
		out := l.longest(begin, time.Now())
		worst = max(worst, out.took())
		if out.took() > noted {
			t.Logf("the client that waited the longest had\n\t%s", strings.Join(out.course, "\n\t"))
		}
		its, others := f.fates(begin, h.worker)
		slowest, refused := f.slowest(h.worker)
		t.Logf("%s: no answer for %d ms at most, controllers acted after %d ms, all well after %d ms; "+
			"of the service's connections %d of %d through that worker lost and %d others, whose slowest answer took %d ms; %d new ones refused",
			h.what, out.took().Milliseconds(), acted.Milliseconds(), time.Since(begin).Milliseconds(),
			len(its), through, len(others), slowest.Milliseconds(), refused)
		if h.kills && len(its) == 0 {
			t.Errorf("%s: no connection was lost", h.what)
		}
		for _, o := range others {
			t.Errorf("%s: a connection was lost that was not through it: %s", h.what, o)
		}
	}
	stop()
	group.Wait()
	asking.Wait()
	t.Logf("%d operations, %d without an answer, none for %d ms at most", len(l.history), l.failed, worst.Milliseconds())
	l.check(t)
}

// chosen are the kinds of trouble there is to be.
func chosen(t *testing.T) []trouble {
	t.Helper()
	only, err := regexp.Compile(*chaosKinds)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Clone(troubles)
	if *chaosClock != 0 {
		all = append(all, jumped)
	}
	all = slices.DeleteFunc(all, func(x trouble) bool { return !only.MatchString(x.name) })
	if len(all) == 0 {
		t.Fatalf("no kind of trouble matches %q", *chaosKinds)
	}
	return all
}

func inTurn(n int) []int {
	var out []int
	for i := range n {
		out = append(out, i)
	}
	return out
}

// check is the one that matters: no acknowledged write is lost.
func (l *load) check(t *testing.T) {
	t.Helper()
	switch result, info := porcupine.CheckOperationsVerbose(register, l.history, 2*time.Minute); result {
	case porcupine.Illegal:
		file := filepath.Join(os.TempDir(), "skiff-chaos.html")
		if err := porcupine.VisualizePath(register, info, file); err != nil {
			file = err.Error()
		}
		t.Errorf("what clients saw is not what a register answers: an acknowledged write was lost or an old value came back (%s)", file)
	case porcupine.Unknown:
		t.Error("the history was not checked within two minutes")
	}
}

// act waits until the controllers do something for a new object, and says how
// long that took.
func act(t testing.TB, k kubernetes.Interface, i int) time.Duration {
	t.Helper()
	begin := time.Now()
	ns := fmt.Sprintf("after-%d-%d", i, begin.UnixNano())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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

// nodeReady says why a worker's node is not ready.
func nodeReady(ctx context.Context, k kubernetes.Interface, w *worker) error {
	n, err := k.CoreV1().Nodes().Get(ctx, w.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, s := range n.Status.Conditions {
		if s.Type == corev1.NodeReady && s.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %s: %s", w.name, s.Message)
		}
	}
	return nil
}
