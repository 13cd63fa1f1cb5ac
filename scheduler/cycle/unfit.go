package cycle

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// ErrNoNodes says that there is no node at all.
var ErrNoNodes = errors.New("no nodes available to schedule pods")

// Unfit is the error for a pod that fits on no node.
type Unfit struct {
	Nodes int // in the cluster
	// PreFilter is why the pod was rejected for all nodes at once, if it was.
	PreFilter *plugins.Rejection
	// Reasons counts the nodes for each reason.
	Reasons map[string]int
	// Rules are the names of the rules that rejected the pod.
	Rules []string
	// Preemption is what preemption said, added to the message.
	Preemption string

	// removable are the nodes where removing pods may help.
	removable []*cache.Node
}

// Error gives the message in Kubernetes' words, as users see it in events and
// conditions.
func (u *Unfit) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "0/%d nodes are available", u.Nodes)
	if u.PreFilter != nil {
		fmt.Fprintf(&b, ": %s.", strings.Join(u.PreFilter.Reasons, ", "))
	}
	if len(u.Reasons) > 0 {
		fmt.Fprintf(&b, ": %s.", countReasons(u.Reasons))
	}
	if u.Preemption != "" {
		b.WriteString(" " + u.Preemption)
	}
	return b.String()
}

// countReasons gives "1 reason, 2 other reason", sorted as text as Kubernetes
// does it.
func countReasons(reasons map[string]int) string {
	out := make([]string, 0, len(reasons))
	for reason, n := range reasons {
		out = append(out, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// reject counts one node's rejection.
func (u *Unfit) reject(n *cache.Node, r *plugins.Rejection) {
	for _, reason := range r.Reasons {
		u.Reasons[reason]++
	}
	if r.Code == plugins.Unschedulable {
		u.removable = append(u.removable, n)
	}
	u.blame(r.Rule)
}

func (u *Unfit) blame(rule string) {
	if !slices.Contains(u.Rules, rule) {
		u.Rules = append(u.Rules, rule)
	}
}
