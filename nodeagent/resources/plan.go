package resources

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Plan brings a running pod to its allocated resources. Its parts are carried
// out in this order, since a container's limit can't be above its pod's: the
// pod's cgroup grows, containers change, the pod's cgroup shrinks.
type Plan struct {
	// Grow is what the pod's cgroup gets first; nil if it is large enough.
	Grow *runtime.Resources
	// Containers change in place, those that lose memory first.
	Containers []Change
	// Restart names those that must be started anew to change.
	Restart []string
	// Settle is what the pod's cgroup gets at last; nil if it has it, or while
	// a container that still runs needs more.
	Settle *runtime.Resources
}

// Change is one running container's.
type Change struct {
	ID, Name string
	From, To runtime.Resources
}

// Empty says that nothing is to be done to cgroups.
func (p *Plan) Empty() bool { return p.Grow == nil && len(p.Containers) == 0 && p.Settle == nil }

// Unfinished says whether running containers, or a pod that is limited as a
// whole, do not yet have what was allocated to them.
func (p *Plan) Unfinished(pod *corev1.Pod) bool {
	return len(p.Containers) > 0 || len(p.Restart) > 0 || pod.Spec.Resources != nil && (p.Grow != nil || p.Settle != nil)
}

// NewPlan compares a pod, as it was allocated, with what the runtime says. What
// is not running gets its resources when it starts; what the runtime does not
// know of (the zero Resources) is taken as right.
func NewPlan(pod *corev1.Pod, sandbox *runtime.Sandbox, containers []runtime.Container) Plan {
	var p Plan
	for i := range containers {
		running := &containers[i]
		if running.State != runtime.Running || running.Resources == (runtime.Resources{}) {
			continue
		}
		c := resizable(pod, running)
		if c == nil {
			continue
		}
		want := Container(pod, c)
		switch {
		case want == running.Resources:
		case mustRestart(c, running, want):
			p.Restart = append(p.Restart, c.Name)
		default:
			p.Containers = append(p.Containers, Change{ID: running.ID, Name: c.Name, From: running.Resources, To: want})
		}
	}
	slices.SortStableFunc(p.Containers, func(a, b Change) int {
		return cmp.Compare(rank(a), rank(b))
	})
	if sandbox == nil || sandbox.Resources == (runtime.Resources{}) {
		return p
	}
	has, want := sandbox.Resources, Pod(pod)
	want.PidsLimit = has.PidsLimit
	if most := larger(has, want); most != has {
		p.Grow = &most
		has = most
	}
	if has != want && len(p.Restart) == 0 {
		p.Settle = &want
	}
	return p
}

// rank is 0 for containers that lose memory, 1 for the others.
func rank(c Change) int {
	if lowers(c.From.MemoryLimit, c.To.MemoryLimit) {
		return 0
	}
	return 1
}

// lowers compares limits, of which 0 is none.
func lowers(from, to int64) bool { return to != 0 && (from == 0 || to < from) }

// larger gives in each field what is more.
func larger(a, b runtime.Resources) runtime.Resources {
	limit := func(x, y int64) int64 {
		if x == 0 || y == 0 {
			return 0
		}
		return max(x, y)
	}
	return runtime.Resources{
		CPUShares: max(a.CPUShares, b.CPUShares), CPUQuota: limit(a.CPUQuota, b.CPUQuota),
		CPURequest: max(a.CPURequest, b.CPURequest), CPULimit: limit(a.CPULimit, b.CPULimit),
		MemoryLimit: limit(a.MemoryLimit, b.MemoryLimit), MemoryRequest: max(a.MemoryRequest, b.MemoryRequest),
		PidsLimit: a.PidsLimit,
	}
}

// resizable finds the spec of a container whose resources may change while it
// runs: all but ephemeral ones.
func resizable(pod *corev1.Pod, running *runtime.Container) *corev1.Container {
	list := pod.Spec.Containers
	switch running.Kind {
	case runtime.Ephemeral:
		return nil
	case runtime.Init:
		list = pod.Spec.InitContainers
	}
	if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == running.Name }); i >= 0 {
		return &list[i]
	}
	return nil
}

// mustRestart says whether a container's resize policy has it started anew for
// what changes. An init container that is no sidecar never is.
func mustRestart(c *corev1.Container, running *runtime.Container, want runtime.Resources) bool {
	if running.Kind == runtime.Init && !isSidecar(c) {
		return false
	}
	has := running.Resources
	changed := map[corev1.ResourceName]bool{
		corev1.ResourceCPU:    has.CPURequest != want.CPURequest || has.CPULimit != want.CPULimit,
		corev1.ResourceMemory: has.MemoryRequest != want.MemoryRequest || has.MemoryLimit != want.MemoryLimit,
	}
	return slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		return p.RestartPolicy == corev1.RestartContainer && changed[p.ResourceName]
	})
}

// Check refuses memory limits below what is used: the kernel would kill for
// them. usage is in bytes by container's name, of those that are running; pod is
// the present limit of the pod's cgroup.
func (p *Plan) Check(usage map[string]uint64, pod runtime.Resources) error {
	var errs []error
	if p.Settle != nil && lowers(pod.MemoryLimit, p.Settle.MemoryLimit) {
		var sum uint64
		for _, used := range usage {
			sum += used
		}
		if sum >= uint64(p.Settle.MemoryLimit) {
			errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", p.Settle.MemoryLimit, sum))
		}
	}
	for _, c := range p.Containers {
		if used := usage[c.Name]; lowers(c.From.MemoryLimit, c.To.MemoryLimit) && used >= uint64(c.To.MemoryLimit) {
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.Name, c.To.MemoryLimit, used))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("cannot decrease memory limits: %w", utilerrors.NewAggregate(errs))
}

// Lowers says whether some memory limit becomes less.
func (p *Plan) Lowers(pod runtime.Resources) bool {
	return p.Settle != nil && lowers(pod.MemoryLimit, p.Settle.MemoryLimit) ||
		slices.ContainsFunc(p.Containers, func(c Change) bool { return lowers(c.From.MemoryLimit, c.To.MemoryLimit) })
}
