// Command bench measures skiff as a whole and prints one line a figure, beside
// the aim of docs/performance.md. `make bench` runs it; it needs bin/skiff,
// and root for the figures of real containers.
//
// Each figure is taken several times; the median is printed. Nothing is
// asserted: figures depend on the machine, which is printed first.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// figure is one thing that is measured.
type figure struct {
	name    string
	aim     string
	measure func(context.Context) (string, error)
}

func main() {
	only := flag.String("only", "", "measure the figures whose names contain this")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process to the file")
	flag.Parse()
	klog.LogToStderr(false)
	klog.SetOutput(discard{})
	ctrl.SetLogger(klog.NewKlogr())
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	ctx := context.Background()
	fmt.Printf("%s, %d cores, %s\n\n", cpu(), runtime.NumCPU(), runtime.Version())
	failed := false
	for _, f := range slices.Concat(processFigures(), partFigures(), apiFigures(), clusterFigures(), podFigures()) {
		if !strings.Contains(f.name, *only) {
			continue
		}
		value, err := f.measure(ctx)
		if err != nil {
			value, failed = "failed: "+err.Error(), true
		}
		fmt.Printf("%-58s %-34s aim %s\n", f.name, value, f.aim)
	}
	if failed {
		pprof.StopCPUProfile()
		os.Exit(1)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
		}
	}
	return runtime.GOARCH
}

// quantile of durations, 0.5 the median.
func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[min(int(float64(len(d))*q), len(d)-1)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1e3) }

// repeat takes a time n times and gives the median.
func repeat(n int, once func() (time.Duration, error)) (string, error) {
	var all []time.Duration
	for range n {
		d, err := once()
		if err != nil {
			return "", err
		}
		all = append(all, d)
	}
	return fmt.Sprintf("%s (of %d)", ms(quantile(all, 0.5)), n), nil
}
