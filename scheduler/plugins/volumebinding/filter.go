package volumebinding

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "VolumeBinding"

var (
	unboundImmediate = plugins.Reject(Name, plugins.Unresolvable, "pod has unbound immediate PersistentVolumeClaims")
	wrongNode        = plugins.Reject(Name, plugins.Unresolvable, "node(s) didn't match PersistentVolume's node affinity")
	noVolume         = plugins.Reject(Name, plugins.Unresolvable, "node(s) didn't find available persistent volumes to bind")
	lostVolume       = plugins.Reject(Name, plugins.Unresolvable,
		"node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
)

// Rule implements plugins.Filter. Its functions give nil for what is not there.
type Rule struct {
	Claim   func(namespace, name string) *corev1.PersistentVolumeClaim
	Volume  func(name string) *corev1.PersistentVolume
	Volumes func() []*corev1.PersistentVolume
	Class   func(name string) *storagev1.StorageClass
	// Taken tells the volumes that pods are being bound to, by volume name;
	// the watch does not show them as taken yet. The value is the claim's key.
	Taken func(volume string) string
}

// Name implements plugins.Filter.
func (*Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (r *Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	if len(t.Pod.Claims) == 0 {
		return nil, nil
	}
	claims, rejection := r.claims(t.Pod)
	if rejection != nil {
		return nil, rejection
	}
	c := &check{rule: r}
	for _, claim := range claims {
		switch {
		case isBound(claim):
			c.bound = append(c.bound, claim)
		case claim.Spec.VolumeName == "" && r.waits(claim):
			c.open = append(c.open, claim)
		default:
			return nil, unboundImmediate
		}
	}
	return c, nil
}

// claims gives the pod's claims, all of which must be there and usable.
func (r *Rule) claims(p *cache.Pod) ([]*corev1.PersistentVolumeClaim, *plugins.Rejection) {
	var out []*corev1.PersistentVolumeClaim
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		var name string
		switch {
		case v.PersistentVolumeClaim != nil:
			name = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			name = ephemeral.VolumeClaimName(p.Pod, v)
		default:
			continue
		}
		claim := r.Claim(p.Namespace, name)
		if reason := unusable(p.Pod, v, name, claim); reason != "" {
			return nil, plugins.Reject(Name, plugins.Unresolvable, reason)
		}
		out = append(out, claim)
	}
	return out, nil
}

func unusable(p *corev1.Pod, v *corev1.Volume, name string, claim *corev1.PersistentVolumeClaim) string {
	switch {
	case claim == nil && v.Ephemeral != nil:
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case claim == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	}
	if v.Ephemeral != nil {
		if err := ephemeral.VolumeIsForPod(p, claim); err != nil {
			return err.Error()
		}
	}
	return ""
}

// isBound tells whether the volume controller has finished with a claim.
func isBound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted)
}

// waits tells whether a claim is bound only once a pod needs it.
func (r *Rule) waits(claim *corev1.PersistentVolumeClaim) bool {
	class := r.Class(volume.GetPersistentVolumeClaimClass(claim))
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

type check struct {
	rule  *Rule
	bound []*corev1.PersistentVolumeClaim
	open  []*corev1.PersistentVolumeClaim
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	for _, claim := range c.bound {
		pv := c.rule.Volume(claim.Spec.VolumeName)
		if pv == nil {
			return lostVolume
		}
		if volume.CheckNodeAffinity(pv, n.Labels) != nil {
			return wrongNode
		}
	}
	if len(c.open) > 0 {
		if _, ok := c.rule.plan(c.open, n.Node); !ok {
			return noVolume
		}
	}
	return nil
}

// Binding is what must be written before the pod can be bound: either Volume
// is given to Claim, or Claim is to be provisioned for the node.
type Binding struct {
	Claim  *corev1.PersistentVolumeClaim
	Volume *corev1.PersistentVolume
}

// Plan says how the pod's open claims are bound on a node; it is empty for
// pods without.
func (r *Rule) Plan(p *cache.Pod, node *corev1.Node) ([]Binding, error) {
	if len(p.Claims) == 0 {
		return nil, nil
	}
	claims, rejection := r.claims(p)
	if rejection != nil {
		return nil, fmt.Errorf("plan volumes: %s", rejection.Reasons[0])
	}
	var open []*corev1.PersistentVolumeClaim
	for _, claim := range claims {
		if !isBound(claim) {
			open = append(open, claim)
		}
	}
	plan, ok := r.plan(open, node)
	if !ok {
		return nil, fmt.Errorf("plan volumes: %s", noVolume.Reasons[0])
	}
	return plan, nil
}

func (r *Rule) plan(open []*corev1.PersistentVolumeClaim, node *corev1.Node) ([]Binding, bool) {
	var out []Binding
	var free []*corev1.PersistentVolume
	chosen := map[string]*corev1.PersistentVolume{}
	for _, claim := range open {
		if at, ok := claim.Annotations[volume.AnnSelectedNode]; ok {
			if at != node.Name {
				return nil, false // it is being provisioned elsewhere
			}
			out = append(out, Binding{Claim: claim})
			continue
		}
		if free == nil {
			free = r.Volumes()
		}
		pv, err := volume.FindMatchingVolume(claim, r.untaken(free, claim), node, chosen, false, true)
		switch {
		case err != nil:
			return nil, false
		case pv != nil:
			chosen[pv.Name] = pv
			out = append(out, Binding{Claim: claim, Volume: pv})
		case r.canProvision(claim, node):
			out = append(out, Binding{Claim: claim})
		default:
			return nil, false
		}
	}
	return out, true
}

func (r *Rule) untaken(volumes []*corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume {
	if r.Taken == nil {
		return volumes
	}
	out := make([]*corev1.PersistentVolume, 0, len(volumes))
	for _, pv := range volumes {
		if by := r.Taken(pv.Name); by == "" || by == claim.Namespace+"/"+claim.Name {
			out = append(out, pv)
		}
	}
	return out
}

func (r *Rule) canProvision(claim *corev1.PersistentVolumeClaim, node *corev1.Node) bool {
	class := r.Class(volume.GetPersistentVolumeClaimClass(claim))
	if class == nil || class.Provisioner == "" || class.Provisioner == volume.NotSupportedProvisioner {
		return false
	}
	return allowed(class.AllowedTopologies, node)
}

// allowed tells whether a class provisions for a node: one of its terms must
// hold, or there are none.
func allowed(terms []corev1.TopologySelectorTerm, node *corev1.Node) bool {
	for _, term := range terms {
		if holds(term, node) {
			return true
		}
	}
	return len(terms) == 0
}

func holds(term corev1.TopologySelectorTerm, node *corev1.Node) bool {
	for _, e := range term.MatchLabelExpressions {
		found := false
		for _, v := range e.Values {
			label, ok := node.Labels[e.Key]
			found = found || ok && label == v
		}
		if !found {
			return false
		}
	}
	return true
}

// State of a pod's claims after what Plan said was written.
type State uint8

// The states.
const (
	Waiting  State = iota // some are not bound yet
	Bound                 // all are bound
	Rejected              // provisioning on this node was given up
)

// Progress tells how far the binding of a plan is on a node. The plan's claims
// are those that were written.
func (r *Rule) Progress(plan []Binding, node string) State {
	state := Bound
	for _, b := range plan {
		claim := r.Claim(b.Claim.Namespace, b.Claim.Name)
		switch {
		case claim == nil || claim.DeletionTimestamp != nil:
			return Rejected
		case isBound(claim):
		case b.Volume == nil && claim.Annotations[volume.AnnSelectedNode] != node && !older(claim, b.Claim):
			return Rejected // the provisioner took the annotation away
		default:
			state = Waiting
		}
	}
	return state
}

// older tells whether the watch has yet to show what was written.
func older(shown, written *corev1.PersistentVolumeClaim) bool {
	order, err := resourceversion.CompareResourceVersion(shown.ResourceVersion, written.ResourceVersion)
	return err == nil && order < 0
}

// WakesOn implements plugins.Waker.
func (*Rule) WakesOn() plugins.Kind {
	return plugins.NodeAdded | plugins.NodeLabels | plugins.ClaimChanged | plugins.VolumeChanged | plugins.ClassChanged
}

// Wakes implements plugins.Waker.
func (*Rule) Wakes(p *cache.Pod, e *plugins.Event) bool {
	if e.Kind != plugins.ClaimChanged {
		return true
	}
	if e.Claim.Namespace != p.Namespace {
		return false
	}
	for _, name := range p.Claims {
		if name == e.Claim.Name {
			return true
		}
	}
	return false
}
