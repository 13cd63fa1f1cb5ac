// Command libprof is temporary.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"
	"io"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"github.com/skiffcluster/skiff/cluster"
)

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func main() {
	klog.LogToStderr(false); klog.SetOutput(io.Discard); ctrl.SetLogger(klog.NewKlogr())
	n := 20
	one := func(cfg cluster.Config) (time.Duration, time.Duration, time.Duration, time.Duration) {
		b, c0 := time.Now(), cpu()
		c, err := cluster.Start(context.Background(), cfg)
		if err != nil { panic(err) }
		s, c1 := time.Since(b), cpu()
		b2 := time.Now()
		c.Stop()
		return s, c1 - c0, time.Since(b2), cpu() - c1
	}
	for _, v := range []struct{name string; w []cluster.Room}{
		{"all", nil}, {"api", []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}},
		{"api+controllers", []cluster.Room{cluster.Scheduler, cluster.Nodes}},
		{"api+scheduler", []cluster.Room{cluster.Controllers, cluster.Nodes}},
		{"api+node", []cluster.Room{cluster.Scheduler, cluster.Controllers}},
	} {
		one(cluster.Config{Without: v.w})
		var s, c, st, sc []time.Duration
		var f *os.File
		if len(os.Args) > 1 && v.name == os.Args[1] {
			f, _ = os.Create("/tmp/lib-prof/cpu.prof"); pprof.StartCPUProfile(f)
		}
		for range n {
			a, b, d, e := one(cluster.Config{Without: v.w})
			s, c, st, sc = append(s, a), append(c, b), append(st, d), append(sc, e)
		}
		if f != nil { pprof.StopCPUProfile(); f.Close() }
		for _, x := range [][]time.Duration{s, c, st, sc} { slices.Sort(x) }
		fmt.Printf("%-16s start %v cpu %v stop %v stopcpu %v\n", v.name, s[n/2], c[n/2], st[n/2], sc[n/2])
	}
	if len(os.Args) > 2 {
		cfg := cluster.Config{Progress: func(s cluster.Step) { fmt.Println(s.Name, s.Took) }}
		one(cfg)
	}
}
