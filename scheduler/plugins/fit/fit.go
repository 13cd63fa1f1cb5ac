// Package fit is the rule that a node must have what a pod requests, and that
// the least loaded node is best.
//
// Reads requests of pods and allocatable amounts of nodes; writes nothing.
// Start at Rule.
package fit

import (
	"fmt"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "NodeResourcesFit"

// Rule implements plugins.Filter and plugins.Score.
type Rule struct{}

// Name implements plugins.Filter.
func (Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	return &check{pod: t.Pod, any: !t.Pod.Requests.IsZero()}, nil
}

type check struct {
	pod *cache.Pod
	any bool // the pod requests something
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	room := int64(len(n.Pods)) < n.AllowedPods
	if !c.any {
		if room {
			return nil
		}
		return tooManyPods
	}
	want, have, used := &c.pod.Requests, &n.Allocatable, &n.Requested
	if room &&
		lacks(want.MilliCPU, have.MilliCPU, used.MilliCPU) == enough &&
		lacks(want.Memory, have.Memory, used.Memory) == enough &&
		lacks(want.EphemeralStorage, have.EphemeralStorage, used.EphemeralStorage) == enough &&
		len(want.Scalars) == 0 {
		return nil
	}
	return c.reject(n, room)
}

// reject finds all that is lacking, or nothing.
func (c *check) reject(n *cache.Node, room bool) *plugins.Rejection {
	want, have, used := &c.pod.Requests, &n.Allocatable, &n.Requested
	cpu := lacks(want.MilliCPU, have.MilliCPU, used.MilliCPU)
	memory := lacks(want.Memory, have.Memory, used.Memory)
	storage := lacks(want.EphemeralStorage, have.EphemeralStorage, used.EphemeralStorage)
	worst := max(cpu, memory, storage)
	var scalars []string
	for _, s := range want.Scalars {
		l := lacks(s.Value, have.Scalar(s.Name), used.Scalar(s.Name))
		if l != enough {
			scalars = append(scalars, fmt.Sprintf("Insufficient %s", s.Name))
			worst = max(worst, l)
		}
	}
	if worst == enough && room {
		return nil
	}
	if len(scalars) == 0 {
		return &standard[index(!room, cpu != enough, memory != enough, storage != enough, worst == never)]
	}
	r := standard[index(!room, cpu != enough, memory != enough, storage != enough, worst == never)]
	return &plugins.Rejection{Rule: Name, Code: r.Code, Reasons: append(r.Reasons[:len(r.Reasons):len(r.Reasons)], scalars...)}
}

// lack tells how much of a resource is missing.
type lack uint8

const (
	enough lack = iota
	full        // other pods use it
	never       // not even an empty node would have it
)

func lacks(want, have, used int64) lack {
	switch {
	case want <= 0 || want <= have-used:
		return enough
	case want > have:
		return never
	}
	return full
}

// standard are the rejections without named resources, made once: a full
// cluster rejects every node for every pod.
var standard = makeStandard()

var tooManyPods = &standard[index(true, false, false, false, false)]

func makeStandard() (out [32]plugins.Rejection) {
	reasons := []string{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"}
	for i := range out {
		out[i] = plugins.Rejection{Rule: Name, Code: plugins.Unschedulable}
		if i&16 != 0 {
			out[i].Code = plugins.Unresolvable
		}
		for bit, reason := range reasons {
			if i&(1<<bit) != 0 {
				out[i].Reasons = append(out[i].Reasons, reason)
			}
		}
	}
	return out
}

func index(bits ...bool) int {
	n := 0
	for i, b := range bits {
		if b {
			n |= 1 << i
		}
	}
	return n
}

// PreScore implements plugins.Score.
func (Rule) PreScore(t *plugins.Turn, _ []*cache.Node) plugins.Scorer { return scorer{t.Pod} }

type scorer struct{ pod *cache.Pod }

// Score implements plugins.Scorer: the mean of the free shares of CPU and
// memory (LeastAllocated, the default strategy).
func (s scorer) Score(n *cache.Node) int64 {
	var sum, weights int64
	if n.Allocatable.MilliCPU > 0 {
		sum += free(n.ScoreCPU+s.pod.ScoreCPU, n.Allocatable.MilliCPU)
		weights++
	}
	if n.Allocatable.Memory > 0 {
		sum += free(n.ScoreMemory+s.pod.ScoreMemory, n.Allocatable.Memory)
		weights++
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

func free(used, have int64) int64 {
	if used > have {
		return 0
	}
	return (have - used) * plugins.MaxScore / have
}

// WakesOn implements plugins.Waker.
func (Rule) WakesOn() plugins.Kind {
	return plugins.NodeAdded | plugins.NodeAllocatable | plugins.PodRemoved | plugins.PodShrunk
}

// Wakes implements plugins.Waker.
func (Rule) Wakes(p *cache.Pod, e *plugins.Event) bool {
	if e.Node == nil {
		return true // room became free
	}
	empty := &cache.Node{Node: e.Node, Allocatable: cache.ResourcesOf(e.Node.Status.Allocatable), AllowedPods: 1}
	c := check{pod: p, any: !p.Requests.IsZero()}
	return c.Filter(empty) == nil && e.Node.Status.Allocatable.Pods().Value() > 0
}
