package apiserver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster"
)

// clients runs a benchmark with a client in the process and one over TLS.
func clients(b *testing.B, f func(b *testing.B, k *kubernetes.Clientset)) {
	b.Helper()
	c := socket(b, nil)
	network := access(b, c)
	network.QPS = -1
	network.ContentConfig = restclient.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf}
	for _, v := range []struct {
		name string
		cfg  *restclient.Config
	}{{"inprocess", c.RESTConfig()}, {"tls", network}} {
		b.Run(v.name, func(b *testing.B) {
			k := clientset(b, v.cfg)
			if err := k.CoreV1().RESTClient().Delete().AbsPath(maps).Do(context.Background()).Error(); err != nil {
				b.Fatal(err)
			}
			f(b, k)
		})
	}
}

// workers is how many requests are under way at once for each processor.
const workers = 16

func benchMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: named(name), Data: map[string]string{"key": "value"}}
}

// each runs f with a new number, many at once.
func each(b *testing.B, f func(ctx context.Context, i int64) error) {
	b.Helper()
	var n atomic.Int64
	b.SetParallelism(workers)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(context.Background(), n.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func fill(b *testing.B, k *kubernetes.Clientset, n int) {
	b.Helper()
	for i := range n {
		if _, err := k.CoreV1().ConfigMaps("default").Create(b.Context(), benchMap(fmt.Sprint("m-", i+1)), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateConfigMap(b *testing.B) {
	clients(b, func(b *testing.B, k *kubernetes.Clientset) {
		run := time.Now().UnixNano()
		each(b, func(ctx context.Context, i int64) error {
			_, err := k.CoreV1().ConfigMaps("default").Create(ctx, benchMap(fmt.Sprintf("m-%d-%d", run, i)), metav1.CreateOptions{})
			return err
		})
	})
}

func BenchmarkGet(b *testing.B) {
	clients(b, func(b *testing.B, k *kubernetes.Clientset) {
		fill(b, k, 1)
		each(b, func(ctx context.Context, _ int64) error {
			_, err := k.CoreV1().ConfigMaps("default").Get(ctx, "m-1", metav1.GetOptions{})
			return err
		})
	})
}

func BenchmarkList500(b *testing.B) {
	clients(b, func(b *testing.B, k *kubernetes.Clientset) {
		fill(b, k, 500)
		each(b, func(ctx context.Context, _ int64) error {
			l, err := k.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
			if err == nil && len(l.Items) != 500 {
				err = fmt.Errorf("%d objects", len(l.Items))
			}
			return err
		})
	})
}

func BenchmarkUpdate(b *testing.B) {
	clients(b, func(b *testing.B, k *kubernetes.Clientset) {
		fill(b, k, 256)
		each(b, func(ctx context.Context, i int64) error {
			m := benchMap(fmt.Sprint("m-", i%256+1))
			m.Data["key"] = fmt.Sprint(i)
			_, err := k.CoreV1().ConfigMaps("default").Update(ctx, m, metav1.UpdateOptions{})
			return err
		})
	})
}

func BenchmarkDelete(b *testing.B) {
	clients(b, func(b *testing.B, k *kubernetes.Clientset) {
		fill(b, k, b.N)
		each(b, func(ctx context.Context, i int64) error {
			return k.CoreV1().ConfigMaps("default").Delete(ctx, fmt.Sprint("m-", i), metav1.DeleteOptions{})
		})
	})
}

// BenchmarkWatchLatency is from before a create to its event.
func BenchmarkWatchLatency(b *testing.B) {
	clients(b, func(b *testing.B, k *kubernetes.Clientset) {
		l, err := k.CoreV1().ConfigMaps("default").List(b.Context(), metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		w := watchMaps(b, k, metav1.ListOptions{ResourceVersion: l.ResourceVersion})
		run := time.Now().UnixNano()
		b.ResetTimer()
		for i := range b.N {
			name := fmt.Sprintf("w-%d-%d", run, i)
			makeMap(b, k, benchMap(name))
			w.expect("ADDED " + name)
		}
	})
}

// BenchmarkStartToReady is a server in a new directory, until it can be used.
func BenchmarkStartToReady(b *testing.B) {
	for b.Loop() {
		c, err := cluster.Start(b.Context(), cluster.Config{Without: onlyAPI})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c.Stop()
		b.StartTimer()
	}
}
