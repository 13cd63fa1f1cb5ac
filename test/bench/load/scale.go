package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

// Scale creates a Deployment and takes the time until so many of its pods are
// as wanted.
func Scale(ctx context.Context, k kubernetes.Interface, replicas int32, wanted func(*corev1.Pod) bool) (time.Duration, error) {
	w, err := k.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	labels := map[string]string{"app": "bench"}
	begin := time.Now()
	_, err = k.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/image:v1"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	seen := map[string]bool{}
	limit := time.After(2 * time.Minute)
	for len(seen) < int(replicas) {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return 0, errors.New("the watch of pods ended")
			}
			if p, ok := e.Object.(*corev1.Pod); ok && wanted(p) {
				seen[p.Name] = true
			}
		case <-limit:
			return 0, fmt.Errorf("%d of %d pods within two minutes", len(seen), replicas)
		}
	}
	return time.Since(begin), nil
}

// AccountReady waits for the service account that pods need.
func AccountReady(ctx context.Context, k kubernetes.Interface) error {
	for range 6000 {
		if _, err := k.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err == nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("no default service account within 30 s")
}

// Nodes creates so many Node objects that are ready, of 110 pods each. Nobody
// runs what is bound to them.
func Nodes(ctx context.Context, cfg *restclient.Config, n int) error {
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	for i := range n {
		name := fmt.Sprintf("node-%d", i)
		if _, err := k.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the controllers write it too
			node, err := k.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			node.Status = corev1.NodeStatus{
				Capacity: room, Allocatable: room,
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}},
			}
			_, err = k.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
			return err
		}); err != nil {
			return err
		}
	}
	// A new node is tainted until the controllers have seen that it is ready.
	return wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, node := range list.Items {
			if len(node.Spec.Taints) > 0 {
				return false, nil
			}
		}
		return true, nil
	})
}
