package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster"
)

// clusterFigures are of whole clusters in this process, on simulated nodes.
func clusterFigures() []figure {
	return []figure{
		{"cluster.Start to a usable client (controllers, node)", "< 100 ms", func(ctx context.Context) (string, error) {
			return repeat(9, func() (time.Duration, error) {
				begin := time.Now()
				c, err := cluster.Start(ctx, cluster.Config{})
				took := time.Since(begin)
				if err == nil {
					c.Stop()
				}
				return took, err
			})
		}},
		{"500-replica Deployment to 500 Pod objects", "< 0.3 s", func(ctx context.Context) (string, error) {
			return scale(ctx, 500, 10, func(*corev1.Pod) bool { return true })
		}},
		{"500-replica Deployment to 500 pods Running, 10 simulated nodes", "< 1 s", func(ctx context.Context) (string, error) {
			return scale(ctx, 500, 10, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
		}},
		{"1,000-replica Deployment to 1,000 pods bound, 20 simulated nodes", "< 1 s", func(ctx context.Context) (string, error) {
			return scale(ctx, 1000, 20, func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		}},
	}
}

// scale creates a Deployment and takes the time until so many of its pods are
// as wanted.
func scale(ctx context.Context, replicas int32, nodes int, wanted func(*corev1.Pod) bool) (string, error) {
	return repeat(3, func() (time.Duration, error) {
		cfg := cluster.Config{}
		for range nodes {
			cfg.Nodes = append(cfg.Nodes, cluster.Node{Simulated: true})
		}
		c, err := cluster.Start(ctx, cfg)
		if err != nil {
			return 0, err
		}
		defer c.Stop()
		k, err := kubernetes.NewForConfig(c.RESTConfig())
		if err != nil {
			return 0, err
		}
		if err := accountReady(ctx, k); err != nil {
			return 0, err
		}
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
			case e := <-w.ResultChan():
				if p, ok := e.Object.(*corev1.Pod); ok && wanted(p) {
					seen[p.Name] = true
				}
			case <-limit:
				return 0, fmt.Errorf("%d of %d pods within two minutes", len(seen), replicas)
			}
		}
		return time.Since(begin), nil
	})
}

// accountReady waits for the service account that pods need.
func accountReady(ctx context.Context, k kubernetes.Interface) error {
	for range 1000 {
		if _, err := k.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err == nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("no default service account within 5 s")
}
