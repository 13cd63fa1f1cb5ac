package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// Workers is how many clients work at a time.
	Workers = 32

	window    = 3 * time.Second
	deletable = 20000 // objects, more than any server deletes within the window
)

// Rate is how fast requests were answered.
type Rate struct {
	PerSecond float64
	CPU       time.Duration // for each, of the processes that were looked at
}

func (r Rate) String() string {
	return fmt.Sprintf("%.0f/s, %d µs CPU each", r.PerSecond, r.CPU.Microseconds())
}

// Throughput creates, gets, updates or deletes ConfigMaps for three seconds;
// cpu is the processor time used so far by whoever is to be looked at.
func Throughput(ctx context.Context, k kubernetes.Interface, op string, cpu func() time.Duration) (Rate, error) {
	maps := k.CoreV1().ConfigMaps("default")
	object := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": "a value of some length, as they are"}}
	}
	var next, done atomic.Int64
	name := func(i int64) string { return fmt.Sprintf("%s-%07d", op, i) }
	if op != "create" {
		n := int64(Workers)
		if op == "delete" {
			n = deletable
		}
		if err := parallel(func(int) error {
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				if _, err := maps.Create(ctx, object(name(i)), metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return Rate{}, err
		}
		next.Store(0)
	}
	begin, before := time.Now(), cpu()
	err := parallel(func(w int) error {
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
				if n >= deletable {
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
	took, used := time.Since(begin), cpu()-before
	n := done.Load()
	return Rate{PerSecond: float64(n) / took.Seconds(), CPU: used / time.Duration(max(n, 1))}, err
}

// parallel gives the first error of f by all workers.
func parallel(f func(worker int) error) error {
	var group sync.WaitGroup
	errs := make(chan error, Workers)
	for w := range Workers {
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
