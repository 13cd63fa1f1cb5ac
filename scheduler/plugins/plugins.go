package plugins

import (
	"github.com/skiffcluster/skiff/scheduler/cache"
)

// MaxScore is the best score that a rule gives a node, the worst is 0.
const MaxScore = 100

// Turn is one pod's try to be scheduled.
type Turn struct {
	Pod      *cache.Pod
	Snapshot *cache.Snapshot
}

// Filter is a rule that rejects nodes.
type Filter interface {
	// Name is the rule's name in Kubernetes.
	Name() string
	// PreFilter looks at the pod. It rejects it for all nodes, or gives the
	// check for each, or nil when all nodes are acceptable.
	PreFilter(*Turn) (Check, *Rejection)
}

// Check judges nodes for one pod. It may not change anything.
type Check interface {
	// Filter gives nil for an acceptable node. The node may be a clone that is
	// not in the snapshot, with other pods.
	Filter(*cache.Node) *Rejection
}

// Narrow is a Check that only accepts nodes with these names.
type Narrow interface {
	NodeNames() []string
}

// PodCheck is a Check whose answer for a node depends on pods, also on other
// nodes. It follows pods that are tried out.
type PodCheck interface {
	Check
	Clone() PodCheck
	// Count takes in (sign 1) or takes out (sign -1) a pod of a node.
	Count(pod *cache.Pod, node *cache.Node, sign int)
}

// Score is a rule that prefers some nodes.
type Score interface {
	Name() string
	// PreScore looks at the pod and all nodes that passed the filters; nil
	// means no preference.
	PreScore(*Turn, []*cache.Node) Scorer
}

// Scorer scores nodes for one pod, from 0 to MaxScore unless it is a
// Normalizer.
type Scorer interface {
	Score(*cache.Node) int64
}

// Normalizer brings raw scores to the range from 0 to MaxScore.
type Normalizer interface {
	Normalize(nodes []*cache.Node, scores []int64)
}

// Code says what may help against a rejection.
type Code uint8

// The codes.
const (
	// Unschedulable may be resolved by removing pods.
	Unschedulable Code = iota + 1
	// Unresolvable is not resolved by removing pods.
	Unresolvable
	// Failed means that the rule could not judge.
	Failed
)

// Rejection says why a node, or all nodes, are not acceptable. Rules share
// Rejections between nodes; they are read-only.
type Rejection struct {
	Rule    string
	Code    Code
	Reasons []string // in Kubernetes' words
}

// Reject makes a rejection with one reason.
func Reject(rule string, code Code, reason string) *Rejection {
	return &Rejection{Rule: rule, Code: code, Reasons: []string{reason}}
}

// ScaleToMax scales scores so that the highest becomes MaxScore; with reverse,
// so that the highest becomes 0 and 0 becomes MaxScore.
func ScaleToMax(scores []int64, reverse bool) {
	var highest int64
	for _, s := range scores {
		highest = max(highest, s)
	}
	for i := range scores {
		if highest > 0 {
			scores[i] = MaxScore * scores[i] / highest
		}
		if reverse {
			scores[i] = MaxScore - scores[i]
		}
	}
}
