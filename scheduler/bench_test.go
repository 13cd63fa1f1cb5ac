package scheduler_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/scheduler"
)

func BenchmarkBind1000PodsOn100Nodes(b *testing.B) { bind(b, 1000, 100) }

// Two processors give most of their time to the API server and its events:
// cycle's benchmarks say what the decisions alone cost.
func BenchmarkBind10000PodsOn5000Nodes(b *testing.B) { bind(b, 10000, 5000) }

// bind is the whole component against a real API server in this process: all
// pods wait when the scheduler starts, and the time ends when a watch has shown
// the last of them bound.
func bind(b *testing.B, pods, nodes int) {
	for b.Loop() {
		b.StopTimer()
		e := newEnv(b)
		config := rest.CopyConfig(e.RESTConfig())
		config.QPS = -1
		config.ContentType = "application/vnd.kubernetes.protobuf"
		client := kubernetes.NewForConfigOrDie(config)
		for i := range nodes {
			e.create(newNode(fmt.Sprintf("n%d", i), "64"))
		}
		parallel(pods, func(i int) {
			if _, err := client.CoreV1().Pods("default").Create(context.Background(), newPod(fmt.Sprintf("p%d", i), "100m"), metav1.CreateOptions{}); err != nil {
				b.Error(err)
			}
		})
		w, err := client.CoreV1().Pods("default").Watch(context.Background(), metav1.ListOptions{FieldSelector: "spec.nodeName!="})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		stop := e.run(scheduler.Config{})
		for bound := 0; bound < pods; {
			event, ok := <-w.ResultChan()
			if !ok {
				b.Fatalf("the watch ended at %d bound pods", bound)
			}
			if _, ok := event.Object.(*corev1.Pod); ok && event.Type == watch.Added {
				bound++
			}
		}
		b.StopTimer()
		w.Stop()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(pods)*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

// parallel does 0 … n-1 by eight workers.
func parallel(n int, do func(i int)) {
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}
