package cache

import (
	"maps"
	"slices"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
)

// Node is a node with its pods and their sums. In a Snapshot it is read-only;
// whoever wants to try a change works on a Clone.
type Node struct {
	*corev1.Node // nil while pods are known but the node is not
	// Index is the node's place in the snapshot's Nodes.
	Index       int
	Allocatable Resources
	AllowedPods int64
	// Requested is the sum of the pods' requests; ScoreCPU and ScoreMemory are
	// the sums with defaults for containers without requests.
	Requested             Resources
	ScoreCPU, ScoreMemory int64

	Pods             []*Pod
	WithAffinity     []*Pod // those with any affinity to pods
	WithAntiAffinity []*Pod // those with required anti-affinity
	Ports            []Port
	// Claims counts the pods that use a claim, by namespace/name; replaced,
	// never changed.
	Claims map[string]int
	// Images are those on the node, by every name; replaced, never changed.
	Images map[string]*Image
}

// Image is an image that nodes have.
type Image struct {
	Size  int64        // bytes
	Nodes atomic.Int32 // how many nodes have it
}

func (n *Node) setNode(node *corev1.Node) {
	n.Node = node
	n.Allocatable = ResourcesOf(node.Status.Allocatable)
	n.AllowedPods = node.Status.Allocatable.Pods().Value()
}

// AddPod counts a pod in.
func (n *Node) AddPod(p *Pod) {
	n.Pods = append(n.Pods, p)
	n.Requested.add(&p.Requests, 1)
	n.ScoreCPU += p.ScoreCPU
	n.ScoreMemory += p.ScoreMemory
	n.Ports = append(n.Ports, p.Ports...)
	if p.hasAffinity() {
		n.WithAffinity = append(n.WithAffinity, p)
	}
	if len(p.AntiAffinity) > 0 {
		n.WithAntiAffinity = append(n.WithAntiAffinity, p)
	}
	n.countClaims(p, 1)
}

// RemovePod takes the pod with p's uid out and says whether it was there.
func (n *Node) RemovePod(p *Pod) bool {
	i := slices.IndexFunc(n.Pods, func(q *Pod) bool { return q.UID == p.UID })
	if i < 0 {
		return false
	}
	old := n.Pods[i] // may request other amounts than p, after a resize
	n.Pods = removeAt(n.Pods, i)
	n.Requested.add(&old.Requests, -1)
	n.ScoreCPU -= old.ScoreCPU
	n.ScoreMemory -= old.ScoreMemory
	for _, port := range old.Ports {
		if i := slices.Index(n.Ports, port); i >= 0 {
			n.Ports = removeAt(n.Ports, i)
		}
	}
	same := func(q *Pod) bool { return q == old }
	if i := slices.IndexFunc(n.WithAffinity, same); i >= 0 {
		n.WithAffinity = removeAt(n.WithAffinity, i)
	}
	if i := slices.IndexFunc(n.WithAntiAffinity, same); i >= 0 {
		n.WithAntiAffinity = removeAt(n.WithAntiAffinity, i)
	}
	n.countClaims(old, -1)
	return true
}

// removeAt removes without keeping the order, which nothing depends on.
func removeAt[T any](s []T, i int) []T {
	var zero T
	last := len(s) - 1
	s[i], s[last] = s[last], zero
	return s[:last]
}

func (n *Node) countClaims(p *Pod, sign int) {
	if len(p.Claims) == 0 {
		return
	}
	counts := maps.Clone(n.Claims)
	if counts == nil {
		counts = map[string]int{}
	}
	for _, name := range p.Claims {
		key := p.Namespace + "/" + name
		counts[key] += sign
		if counts[key] <= 0 {
			delete(counts, key)
		}
	}
	n.Claims = counts
}

// copyFrom makes n equal to other and reuses n's memory; the index stays.
func (n *Node) copyFrom(other *Node) {
	old := *n
	*n = *other
	n.Index = old.Index
	n.Allocatable, n.Requested = old.Allocatable, old.Requested
	n.Allocatable.copyFrom(&other.Allocatable)
	n.Requested.copyFrom(&other.Requested)
	n.Pods = append(old.Pods[:0], other.Pods...)
	n.WithAffinity = append(old.WithAffinity[:0], other.WithAffinity...)
	n.WithAntiAffinity = append(old.WithAntiAffinity[:0], other.WithAntiAffinity...)
	n.Ports = append(old.Ports[:0], other.Ports...)
}

// Clone gives a copy that may be changed.
func (n *Node) Clone() *Node {
	c := &Node{Index: n.Index}
	c.copyFrom(n)
	return c
}
