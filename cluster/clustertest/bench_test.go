package clustertest_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// BenchmarkNew says what a cluster costs: its life from nothing to a client
// that has read, and back to nothing (ns/op); the start alone, its median
// (ms/start); processor time (cpu-ms/op), and what it holds (MB/cluster).
func BenchmarkNew(b *testing.B) {
	once(b) // what the process does once is no cluster's cost
	var starts []time.Duration
	var held []float64
	begun := cpu(b)
	for b.Loop() {
		b.StopTimer()
		empty := heap()
		b.StartTimer()
		begin := time.Now()
		c := read(b)
		starts = append(starts, time.Since(begin))
		b.StopTimer()
		held = append(held, float64(heap()-empty)/1e6)
		b.StartTimer()
		c.Stop()
	}
	b.ReportMetric(float64((cpu(b)-begun).Microseconds())/1e3/float64(len(starts)), "cpu-ms/op")
	b.ReportMetric(float64(median(starts).Microseconds())/1e3, "ms/start")
	b.ReportMetric(median(held), "MB/cluster")
}

// BenchmarkFiftyAtOnce says what each of fifty clusters costs that run at the
// same time, as in a `go test` of fifty parallel tests.
func BenchmarkFiftyAtOnce(b *testing.B) {
	const clusters = 50
	once(b)
	var each, held []float64
	for b.Loop() {
		b.StopTimer()
		empty, running := heap(), make([]*cluster.Cluster, clusters)
		b.StartTimer()
		begin := time.Now()
		var group sync.WaitGroup
		for i := range running {
			group.Go(func() { running[i] = read(b) })
		}
		group.Wait()
		each = append(each, float64(time.Since(begin).Microseconds())/1e3/clusters)
		b.StopTimer()
		held = append(held, float64(heap()-empty)/1e6/clusters)
		b.StartTimer()
		for _, c := range running {
			group.Go(c.Stop)
		}
		group.Wait()
	}
	b.ReportMetric(median(each), "ms/cluster")
	b.ReportMetric(median(held), "MB/cluster")
}

// BenchmarkDeployment takes the time from a Deployment of three to its being
// available.
func BenchmarkDeployment(b *testing.B) {
	c := clustertest.New(b)
	i := 0
	for b.Loop() {
		i++
		d := deployment(fmt.Sprintf("web-%d", i), 3)
		if err := c.Client().Create(b.Context(), d); err != nil {
			b.Fatal(err)
		}
		available(b, c.Client(), d)
	}
}

// read starts a cluster and reads from it.
func read(b *testing.B) *cluster.Cluster {
	c, err := cluster.Start(b.Context(), cluster.Config{})
	if err != nil {
		b.Error(err)
		return &cluster.Cluster{}
	}
	k, err := c.Client()
	if err == nil {
		err = k.List(b.Context(), &corev1.NodeList{})
	}
	if err != nil {
		b.Error(err)
	}
	return c
}

func once(b *testing.B) { read(b).Stop() }

func median[T time.Duration | float64](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
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
