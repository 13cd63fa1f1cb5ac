package clustertest_test

import (
	"fmt"
	"os"
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
// (ms/start); the processor time of its life (cpu-ms/op), what it holds
// (MB/cluster) and its goroutines.
func BenchmarkNew(b *testing.B) {
	once(b) // what the process does once is no cluster's cost
	var starts, spent []time.Duration
	var held, goroutines []float64
	for b.Loop() {
		b.StopTimer()
		empty, few := heap(), runtime.NumGoroutine()
		b.StartTimer()
		begun, begin := cpu(b), time.Now()
		c := read(b)
		starts = append(starts, time.Since(begin))
		used := cpu(b) - begun
		b.StopTimer()
		held = append(held, float64(heap()-empty)/1e6)
		goroutines = append(goroutines, float64(runtime.NumGoroutine()-few))
		b.StartTimer()
		begun = cpu(b)
		c.Stop()
		spent = append(spent, used+cpu(b)-begun)
	}
	b.ReportMetric(float64(median(spent).Microseconds())/1e3, "cpu-ms/op")
	b.ReportMetric(float64(median(starts).Microseconds())/1e3, "ms/start")
	b.ReportMetric(median(held), "MB/cluster")
	b.ReportMetric(median(goroutines), "goroutines/cluster")
}

// BenchmarkFiftyAtOnce says what each of fifty clusters costs that run at the
// same time, as in a `go test` of fifty parallel tests: time and processor time
// until all of them can be used, by fifty; living heap and resident memory.
func BenchmarkFiftyAtOnce(b *testing.B) {
	const clusters = 50
	once(b)
	var each, used, held, resident []float64
	for b.Loop() {
		b.StopTimer()
		empty, little, running := heap(), residentBytes(b), make([]*cluster.Cluster, clusters)
		b.StartTimer()
		begun, begin := cpu(b), time.Now()
		var group sync.WaitGroup
		for i := range running {
			group.Go(func() { running[i] = read(b) })
		}
		group.Wait()
		each = append(each, float64(time.Since(begin).Microseconds())/1e3/clusters)
		used = append(used, float64((cpu(b)-begun).Microseconds())/1e3/clusters)
		b.StopTimer()
		resident = append(resident, float64(residentBytes(b)-little)/1e6/clusters)
		held = append(held, float64(heap()-empty)/1e6/clusters)
		b.StartTimer()
		for _, c := range running {
			group.Go(c.Stop)
		}
		group.Wait()
	}
	b.ReportMetric(median(each), "ms/cluster")
	b.ReportMetric(median(used), "cpu-ms/cluster")
	b.ReportMetric(median(held), "MB/cluster")
	b.ReportMetric(median(resident), "MB-resident/cluster")
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

// residentBytes is this process's resident memory, 0 where that is not known.
func residentBytes(b *testing.B) int64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}
