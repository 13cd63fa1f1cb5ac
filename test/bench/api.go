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

// apiFigures are of the API server, by a client in the same process (without
// a socket) and by one over TLS, on the same cores.
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

// onDisk is an API server that keeps its data on disk, with fsync, as a real
// one does.
type onDisk struct {
	*cluster.Cluster
	dir string
}

func (s onDisk) Stop() {
	s.Cluster.Stop()
	_ = os.RemoveAll(s.dir)
}

func apiServer(ctx context.Context, client string) (onDisk, *restclient.Config, error) {
	s := onDisk{}
	var err error
	if s.dir, err = os.MkdirTemp("", "skiff-bench-"); err != nil {
		return s, nil, err
	}
	if s.Cluster, err = cluster.Start(ctx, cluster.Config{
		DataDir: filepath.Join(s.dir, "data"), Listen: "127.0.0.1:0", Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
	}); err != nil {
		return s, nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	cfg := s.RESTConfig()
	if client == "TLS" {
		access, err := s.Access()
		if err != nil {
			s.Stop()
			return s, nil, err
		}
		cfg = access.RESTConfig()
		cfg.QPS = -1
		cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	}
	return s, cfg, nil
}

func throughput(ctx context.Context, client, op string) (string, error) {
	c, cfg, err := apiServer(ctx, client)
	if err != nil {
		return "", err
	}
	defer c.Stop()
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	rate, err := load.Throughput(ctx, k, op, cpuTime)
	return rate.String(), err
}

// cpuTime is what this process, client and server, has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func listLatency(ctx context.Context) (string, error) {
	c, cfg, err := apiServer(ctx, "TLS")
	if err != nil {
		return "", err
	}
	defer c.Stop()
	k, err := kubernetes.NewForConfig(cfg)
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
	c, cfg, err := apiServer(ctx, "TLS")
	if err != nil {
		return "", err
	}
	defer c.Stop()
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	all, err := load.WatchLatency(ctx, k)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s / %s", ms(quantile(all, 0.5)), ms(quantile(all, 0.99))), nil
}
