package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/test/bench/load"
)

// apiFigures are of the API server alone: by a client in the same process
// (without a socket), and of a `skiff server` by a client over TLS, on the same
// cores.
func apiFigures() []figure {
	var out []figure
	for _, client := range []string{"in-process", "TLS"} {
		for _, op := range []struct{ name, aim string }{
			{"create", "> 5,700/s"}, {"get", "> 10,500/s"}, {"update", "> 3,900/s"}, {"delete", "> 4,800/s"},
		} {
			out = append(out, figure{
				fmt.Sprintf("ConfigMap %s, %d workers, %s", op.name, load.Workers, client), op.aim,
				func(ctx context.Context) (string, error) { return throughput(ctx, client, op.name) },
			})
		}
	}
	return append(out,
		figure{"list of 1,000 ConfigMaps, TLS", "", listLatency},
		figure{"create to watch event, p50 / p99, TLS", "< 1 / 3 ms", watchLatency},
		figure{"CRD created to first custom resource stored", "< 50 ms", crdLatency})
}

// subject is an API server that keeps its data on disk, with fsync, as a real
// one does.
type subject struct {
	rest *restclient.Config
	cpu  func() time.Duration // what client and server have used
	stop func()
}

// start gives one in this process, or a process of its own, over TLS.
func start(ctx context.Context, client string) (*subject, error) {
	if client == "TLS" {
		return startProcess()
	}
	dir, err := os.MkdirTemp("", "skiff-bench-")
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Config{
		DataDir: filepath.Join(dir, "data"), Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &subject{c.RESTConfig(), ownCPU, func() {
		c.Stop()
		_ = os.RemoveAll(dir)
	}}, nil
}

func startProcess() (*subject, error) {
	s, err := startServer("--without", "controllers,scheduler")
	if err != nil {
		return nil, err
	}
	cfg, err := s.restConfig()
	if err != nil {
		s.stop()
		return nil, err
	}
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	return &subject{cfg, func() time.Duration {
		used, err := s.cpu()
		if err != nil {
			return 0 // it has ended, which the client sees
		}
		return ownCPU() + used
	}, s.stop}, nil
}

func throughput(ctx context.Context, client, op string) (string, error) {
	s, err := start(ctx, client)
	if err != nil {
		return "", err
	}
	defer s.stop()
	k, err := kubernetes.NewForConfig(s.rest)
	if err != nil {
		return "", err
	}
	rate, err := load.Throughput(ctx, k, op, s.cpu)
	return rate.String(), err
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func listLatency(ctx context.Context) (string, error) {
	s, err := start(ctx, "TLS")
	if err != nil {
		return "", err
	}
	defer s.stop()
	k, err := kubernetes.NewForConfig(s.rest)
	if err != nil {
		return "", err
	}
	for i := range 1000 {
		_, err := k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d", i)}, Data: map[string]string{"key": "value"},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
	}
	return repeat(51, func() (time.Duration, error) {
		begin := time.Now()
		_, err := k.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return time.Since(begin), err
	})
}

func watchLatency(ctx context.Context) (string, error) {
	s, err := start(ctx, "TLS")
	if err != nil {
		return "", err
	}
	defer s.stop()
	k, err := kubernetes.NewForConfig(s.rest)
	if err != nil {
		return "", err
	}
	all, err := load.WatchLatency(ctx, k)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s / %s", ms(quantile(all, 0.5)), ms(quantile(all, 0.99))), nil
}
