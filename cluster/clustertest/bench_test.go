package clustertest_test

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// BenchmarkNew says what a cluster costs: ns/op is its life from New to a
// usable client and back to nothing, ms/start its start alone (median),
// cpu-ms/op the processor time of both, MB/cluster what it holds while it runs.
func BenchmarkNew(b *testing.B) {
	use := func(b *testing.B) {
		c := clustertest.New(b)
		if err := c.Client().List(b.Context(), &corev1.NodeList{}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("first", use) // what the process does once is no cluster's cost
	var starts []time.Duration
	var held []float64
	before := cpu(b)
	for b.Loop() {
		b.Run("one", func(b *testing.B) {
			empty := heap()
			begin := time.Now()
			use(b)
			starts = append(starts, time.Since(begin))
			held = append(held, float64(heap()-empty)/1e6)
		})
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/1e3/float64(len(starts)), "cpu-ms/op")
	slices.Sort(starts)
	b.ReportMetric(float64(starts[len(starts)/2].Microseconds())/1e3, "ms/start")
	slices.Sort(held)
	b.ReportMetric(held[len(held)/2], "MB/cluster")
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
