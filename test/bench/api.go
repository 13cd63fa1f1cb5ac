package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster"
)

const (
	workers = 32
	window  = 3 * time.Second
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
				fmt.Sprintf("ConfigMap %s, %d workers, %s", op.name, workers, client), op.aim,
				func(ctx context.Context) (string, error) { return throughput(ctx, client, op.name) },
			})
		}
	}
	return append(out,
		figure{"list of 1,000 ConfigMaps, TLS", "", listLatency},
		figure{"create to watch event, p50 / p99, TLS", "< 1 / 3 ms", watchLatency},
		figure{"CRD created to first custom resource stored", "< 50 ms", crdLatency})
}

// apiServer is an API server that keeps its data on disk as a real one does.
func apiServer(ctx context.Context, client string) (*cluster.Cluster, *restclient.Config, error) {
	c, err := cluster.Start(ctx, cluster.Config{
		Listen: "127.0.0.1:0", Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
	})
	if err != nil {
		return nil, nil, err
	}
	cfg := c.RESTConfig()
	if client == "TLS" {
		access, err := c.Access()
		if err != nil {
			c.Stop()
			return nil, nil, err
		}
		cfg = access.RESTConfig()
		cfg.QPS = -1
		cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	}
	return c, cfg, nil
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
	maps := k.CoreV1().ConfigMaps("default")
	object := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": "a value of some length, as they are"}}
	}
	var next atomic.Int64
	name := func(i int64) string { return fmt.Sprintf("c-%07d", i) }
	if op != "create" {
		n := int64(workers)
		if op == "delete" {
			n = 20000
		}
		if err := parallel(ctx, func(int) error {
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				if _, err := maps.Create(ctx, object(name(i)), metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return "", err
		}
		next.Store(0)
	}
	var done atomic.Int64
	begin, before := time.Now(), cpuTime()
	err = parallel(ctx, func(w int) error {
		obj := object(name(int64(w)))
		for i := 0; time.Since(begin) < window; i++ {
			var err error
			switch op {
			case "create":
				_, err = maps.Create(ctx, object(name(next.Add(1))), metav1.CreateOptions{})
			case "get":
				_, err = maps.Get(ctx, obj.Name, metav1.GetOptions{})
			case "update":
				obj.Data["i"] = fmt.Sprint(i)
				_, err = maps.Update(ctx, obj, metav1.UpdateOptions{})
			case "delete":
				n := next.Add(1) - 1
				if n >= 20000 {
					return nil
				}
				err = maps.Delete(ctx, name(n), metav1.DeleteOptions{})
			}
			if err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	took, used := time.Since(begin), cpuTime()-before
	n := done.Load()
	return fmt.Sprintf("%.0f/s, %.0f µs CPU each", float64(n)/took.Seconds(), float64(used.Microseconds())/float64(max(n, 1))), err
}

func parallel(_ context.Context, f func(worker int) error) error {
	var group sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		group.Go(func() {
			if err := f(w); err != nil {
				errs <- err
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
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
	w, err := k.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	defer w.Stop()
	var all []time.Duration
	for i := range 500 {
		name := fmt.Sprintf("w-%d", i)
		begin := time.Now()
		if _, err := k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return "", err
		}
		for e := range w.ResultChan() {
			if m, ok := e.Object.(*corev1.ConfigMap); ok && m.Name == name {
				break
			}
		}
		all = append(all, time.Since(begin))
	}
	return fmt.Sprintf("%s / %s", ms(quantile(all, 0.5)), ms(quantile(all, 0.99))), nil
}
