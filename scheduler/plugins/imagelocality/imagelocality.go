// Package imagelocality is the rule that nodes which already have a pod's
// images are better.
//
// Reads images of nodes; writes nothing. Start at Rule.
package imagelocality

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "ImageLocality"

// Sizes, in bytes, between which the score grows: smaller images are quick to
// pull, larger ones count no more (kube-scheduler's values).
const (
	minSize             = 23 << 20
	maxSizePerContainer = 1000 << 20
)

// Rule implements plugins.Score.
type Rule struct{}

// Name implements plugins.Score.
func (Rule) Name() string { return Name }

// PreScore implements plugins.Score.
func (Rule) PreScore(t *plugins.Turn, nodes []*cache.Node) plugins.Scorer {
	s := &scorer{total: int64(len(t.Snapshot.Nodes))}
	for _, list := range [][]corev1.Container{t.Pod.Spec.InitContainers, t.Pod.Spec.Containers} {
		for i := range list {
			s.names = append(s.names, normalize(list[i].Image))
		}
	}
	for _, v := range t.Pod.Spec.Volumes {
		if v.Image != nil {
			s.names = append(s.names, normalize(v.Image.Reference))
		}
	}
	return s
}

type scorer struct {
	names []string
	total int64 // nodes
}

// Score implements plugins.Scorer. An image counts by its size times the share
// of nodes that have it, so that not all pods crowd on the one node that does.
func (s *scorer) Score(n *cache.Node) int64 {
	if len(n.Images) == 0 || len(s.names) == 0 {
		return 0
	}
	var sum int64
	for _, name := range s.names {
		if image := n.Images[name]; image != nil {
			sum += int64(float64(image.Size) * (float64(image.Nodes.Load()) / float64(s.total)))
		}
	}
	highest := maxSizePerContainer * int64(len(s.names))
	sum = min(max(sum, minSize), highest)
	return plugins.MaxScore * (sum - minSize) / (highest - minSize)
}

// normalize adds the tag that a name without one means.
func normalize(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}
