package preemption

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Trial is a node on which pods are removed and put back to see whether the
// pod in question then fits.
type Trial interface {
	Remove(*cache.Pod)
	Add(*cache.Pod)
	Fits() *plugins.Rejection
}

// Candidate is a node that the pod would fit on without some pods.
type Candidate struct {
	Node string
	// Victims are the pods that must go, the most important first.
	Victims []*cache.Pod
	// Violations is how many of them a PodDisruptionBudget protects.
	Violations int
}

var noVictims = plugins.Reject(Name, plugins.Unresolvable, NoVictims)

// SelectVictims finds who must leave the node for p. It returns nil and the
// reason when it cannot be had.
func SelectVictims(p *cache.Pod, node *cache.Node, trial Trial, budgets []*policyv1.PodDisruptionBudget) (*Candidate, *plugins.Rejection) {
	var lower []*cache.Pod
	for _, q := range node.Pods {
		if q.Priority < p.Priority {
			lower = append(lower, q)
		}
	}
	if len(lower) == 0 {
		return nil, noVictims
	}
	for _, q := range lower {
		trial.Remove(q)
	}
	if r := trial.Fits(); r != nil {
		return nil, r
	}
	// Put back all that can stay: first the protected ones, the important
	// before the others.
	slices.SortStableFunc(lower, byImportance)
	protected, others := split(lower, budgets)
	c := &Candidate{Node: node.Name}
	stays := func(q *cache.Pod) bool {
		trial.Add(q)
		if trial.Fits() == nil {
			return true
		}
		trial.Remove(q)
		c.Victims = append(c.Victims, q)
		return false
	}
	for _, q := range protected {
		if !stays(q) {
			c.Violations++
		}
	}
	for _, q := range others {
		stays(q)
	}
	slices.SortStableFunc(c.Victims, byImportance)
	return c, nil
}

// byImportance orders by priority, then by age: the older pod is worth more.
func byImportance(a, b *cache.Pod) int {
	if c := cmp.Compare(b.Priority, a.Priority); c != 0 {
		return c
	}
	return compareStart(a, b)
}

func compareStart(a, b *cache.Pod) int {
	x, y := a.Status.StartTime, b.Status.StartTime
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1 // not started yet is younger than everything
	case y == nil:
		return -1
	}
	return x.Compare(y.Time)
}

// split finds the pods whose removal one after the other would break a budget.
func split(pods []*cache.Pod, budgets []*policyv1.PodDisruptionBudget) (protected, others []*cache.Pod) {
	allowed := make([]int32, len(budgets))
	for i, b := range budgets {
		allowed[i] = b.Status.DisruptionsAllowed
	}
	for _, p := range pods {
		breaks := false
		for i, b := range budgets {
			if !covers(b, p.Pod) {
				continue
			}
			if _, counted := b.Status.DisruptedPods[p.Name]; counted {
				continue
			}
			allowed[i]--
			breaks = breaks || allowed[i] < 0
		}
		if breaks {
			protected = append(protected, p)
		} else {
			others = append(others, p)
		}
	}
	return protected, others
}

func covers(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	if b.Namespace != p.Namespace || len(p.Labels) == 0 {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(p.Labels))
}
