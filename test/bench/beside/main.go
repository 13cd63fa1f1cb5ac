// Command beside measures `skiff server` and Kubernetes' own servers in one run:
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler, as
// hack/upstream.sh builds them. `make bench-upstream` runs it.
//
// They take turns, each with an empty disk of its own, fsync on, TLS and a
// client certificate, at its own defaults; the client is this process, on the
// same processors. Nothing is asserted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/test/bench/load"
	"github.com/skiffcluster/skiff/test/upstream"
)

// figure is one thing that is measured: the median of so many takes, each of a
// server that has just been started.
type figure struct {
	name  string
	takes int
	// take gives its values, which are printed in format.
	take   func(context.Context, *upstream.Running) ([]float64, error)
	format string
	alone  bool // of API server and etcd, without controllers and scheduler
}

func figures() []figure {
	out := []figure{
		{"exec to /readyz, empty disk, ms", 5, ready, "%.0f", false},
		{"whole control plane, idle: resident, anonymous, MB", 1, memory, "%.0f, %.0f", false},
		{"whole control plane, idle: % of a core over a minute", 1, idleCPU, "%.2f", false},
	}
	for _, op := range []string{"create", "get", "update", "delete"} {
		const what = "ConfigMap %s, %d workers: per second, µs CPU each of the servers"
		out = append(
			out,
			figure{fmt.Sprintf("API server and etcd alone: "+what, op, load.Workers), 3, throughput(op), "%.0f, %.0f", true},
			figure{fmt.Sprintf("whole control plane: "+what, op, load.Workers), 3, throughput(op), "%.0f, %.0f", false},
		)
	}
	return append(
		out,
		figure{"create to watch event: p50, p99, ms", 3, watch, "%.2f, %.2f", false},
		figure{"definition created to first object stored, ms", 5, definition, "%.1f", false},
		figure{"Deployment of 500 to 500 Pod objects, s", 3, pods, "%.2f", false},
		figure{"Deployment of 500 to 500 pods bound, 10 Node objects, s", 3, bound, "%.2f", false},
	)
}

func main() {
	only := flag.String("only", "", "measure the figures whose names contain this")
	flag.Parse()
	if err := run(context.Background(), *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	for _, f := range figures() {
		if !strings.Contains(f.name, only) {
			continue
		}
		var all [2][][]float64 // by subject, take, value
		for range f.takes {
			for i, start := range []starter{upstream.StartSkiff, upstream.Start} {
				values, err := once(ctx, start, f)
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				all[i] = append(all[i], values)
			}
		}
		fmt.Printf("%-100s skiff %-16s upstream %-16s ratio %s\n", f.name,
			sprint(f.format, medians(all[0])), sprint(f.format, medians(all[1])), ratios(medians(all[0]), medians(all[1])))
	}
	return nil
}

type starter func(context.Context, upstream.Options) (*upstream.Running, error)

func once(ctx context.Context, start starter, f figure) ([]float64, error) {
	r, err := start(ctx, upstream.Options{APIServerOnly: f.alone})
	if err != nil {
		return nil, err
	}
	defer r.Stop()
	return f.take(ctx, r)
}

func medians(takes [][]float64) []float64 {
	out := make([]float64, len(takes[0]))
	for i := range out {
		var all []float64
		for _, t := range takes {
			all = append(all, t[i])
		}
		slices.Sort(all)
		out[i] = all[len(all)/2]
	}
	return out
}

func sprint(format string, values []float64) string {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	return fmt.Sprintf(format, args...)
}

// ratios are skiff's values as parts of upstream's.
func ratios(ours, theirs []float64) string {
	var out []string
	for i := range ours {
		out = append(out, fmt.Sprintf("%.2f", ours[i]/theirs[i]))
	}
	return strings.Join(out, ", ")
}

func ready(_ context.Context, r *upstream.Running) ([]float64, error) {
	return []float64{millis(r.Ready)}, nil
}

const quiet = 30 * time.Second // until a control plane has done what a start entails

func memory(_ context.Context, r *upstream.Running) ([]float64, error) {
	time.Sleep(quiet)
	resident, anonymous, err := r.Memory()
	return []float64{float64(resident) / 1024, float64(anonymous) / 1024}, err
}

func idleCPU(_ context.Context, r *upstream.Running) ([]float64, error) {
	time.Sleep(quiet)
	before := r.CPU()
	time.Sleep(time.Minute)
	return []float64{float64(r.CPU()-before) / float64(time.Minute) * 100}, nil
}

func throughput(op string) func(context.Context, *upstream.Running) ([]float64, error) {
	return func(ctx context.Context, r *upstream.Running) ([]float64, error) {
		k, err := kubernetes.NewForConfig(r.REST)
		if err != nil {
			return nil, err
		}
		rate, err := load.Throughput(ctx, k, op, r.CPU)
		return []float64{rate.PerSecond, float64(rate.CPU.Microseconds())}, err
	}
}

func watch(ctx context.Context, r *upstream.Running) ([]float64, error) {
	k, err := kubernetes.NewForConfig(r.REST)
	if err != nil {
		return nil, err
	}
	all, err := load.WatchLatency(ctx, k)
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	return []float64{millis(all[len(all)/2]), millis(all[len(all)*99/100])}, nil
}

func definition(ctx context.Context, r *upstream.Running) ([]float64, error) {
	took, err := load.DefinitionLatency(ctx, r.REST, 0)
	return []float64{millis(took)}, err
}

func pods(ctx context.Context, r *upstream.Running) ([]float64, error) {
	return scale(ctx, r, func(*corev1.Pod) bool { return true })
}

func bound(ctx context.Context, r *upstream.Running) ([]float64, error) {
	if err := load.Nodes(ctx, r.REST, 10); err != nil {
		return nil, err
	}
	return scale(ctx, r, func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
}

func scale(ctx context.Context, r *upstream.Running, wanted func(*corev1.Pod) bool) ([]float64, error) {
	k, err := kubernetes.NewForConfig(r.REST)
	if err != nil {
		return nil, err
	}
	if err := load.AccountReady(ctx, k); err != nil {
		return nil, err
	}
	took, err := load.Scale(ctx, k, 500, wanted)
	return []float64{took.Seconds()}, err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
