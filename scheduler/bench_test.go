package scheduler_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/scheduler"
)

// BenchmarkBind1000Pods is the whole component against a real API server in
// this process: 1,000 pods wait when the scheduler starts, and the time ends
// when no unbound pod is listed any more.
func BenchmarkBind1000Pods(b *testing.B) {
	const nodes, pods = 100, 1000
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
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := w; i < pods; i += 8 {
					if _, err := client.CoreV1().Pods("default").Create(context.Background(), newPod(fmt.Sprintf("p%d", i), "100m"), metav1.CreateOptions{}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		b.StartTimer()
		stop := e.run(scheduler.Config{})
		e.eventually(func() (bool, string) {
			left, err := client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{
				FieldSelector: "spec.nodeName=", ResourceVersion: "0",
			})
			if err != nil {
				return false, err.Error()
			}
			return len(left.Items) == 0, fmt.Sprintf("%d pods are not bound", len(left.Items))
		})
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(pods)*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}
