package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/test/bench/load"
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
		if err := load.AccountReady(ctx, k); err != nil {
			return 0, err
		}
		return load.Scale(ctx, k, replicas, wanted)
	})
}
