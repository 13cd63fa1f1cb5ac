package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
)

// BenchmarkFailover measures the time from the end of the master whose
// controllers act until those of another have acted: a namespace that is made
// at once has got its service account. It needs -benchtime Nx.
func BenchmarkFailover(b *testing.B) {
	c := start(b)
	way, k := c.way(b, 0)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	go way.Run(ctx)
	for _, end := range []struct {
		name   string
		signal unix.Signal
	}{{"killed", unix.SIGKILL}, {"stopped", unix.SIGTERM}} {
		b.Run(end.name, func(b *testing.B) {
			var all []time.Duration
			for i := range b.N {
				m := c.leading(b, k)
				all = append(all, c.failOver(b, k, m, end.signal, i))
			}
			b.Logf("%s in turn: %v", end.name, all)
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Milliseconds()), "ms/p50")
			b.ReportMetric(float64(all[len(all)-1].Milliseconds()), "ms/max")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// failOver ends a master and waits until it is back.
func (c *skiffCluster) failOver(b *testing.B, k kubernetes.Interface, m *master, s unix.Signal, i int) time.Duration {
	b.Helper()
	running := c.master(m)()
	if len(running) != 1 {
		b.Fatalf("%s has %d processes", m.name, len(running))
	}
	if err := unix.Kill(running[0].PID, s); err != nil {
		b.Fatal(err)
	}
	took := act(b, k, i)
	eventually(b, m.name+" is back", func(ctx context.Context) error {
		if now := c.master(m)(); len(now) != 1 || now[0].PID == running[0].PID {
			return fmt.Errorf("its processes are %v", now)
		}
		return c.isReady(ctx, m)
	})
	return took
}
