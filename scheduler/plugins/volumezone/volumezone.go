// Package volumezone is the rule that a volume labelled with a zone or region
// is only used there.
//
// Reads labels of PersistentVolumes and nodes; writes nothing. Start at Rule.
package volumezone

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "VolumeZone"

var conflict = plugins.Reject(Name, plugins.Unresolvable, "node(s) had no available volume zone")

// keys are the labels that place a volume; deprecated ones are matched with
// the node's current ones.
var keys = map[string]string{
	corev1.LabelTopologyZone:            corev1.LabelTopologyZone,
	corev1.LabelTopologyRegion:          corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
}

// Rule implements plugins.Filter. Its functions give nil for what is not there.
type Rule struct {
	Claim  func(namespace, name string) *corev1.PersistentVolumeClaim
	Volume func(name string) *corev1.PersistentVolume
}

// Name implements plugins.Filter.
func (*Rule) Name() string { return Name }

// place is a label that the node must have with one of the values.
type place struct {
	key    string
	values []string
}

// PreFilter implements plugins.Filter. Claims that are missing or not bound
// are VolumeBinding's matter.
func (r *Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	var places check
	for _, name := range t.Pod.Claims {
		claim := r.Claim(t.Pod.Namespace, name)
		if claim == nil || claim.Spec.VolumeName == "" {
			continue
		}
		pv := r.Volume(claim.Spec.VolumeName)
		if pv == nil {
			continue
		}
		for label, key := range keys {
			if v, ok := pv.Labels[label]; ok {
				places = append(places, place{key, strings.Split(v, "__")})
			}
		}
	}
	if len(places) == 0 {
		return nil, nil
	}
	return places, nil
}

type check []place

// Filter implements plugins.Check.
func (c check) Filter(n *cache.Node) *plugins.Rejection {
	for _, p := range c {
		found := false
		for _, v := range p.values {
			found = found || n.Labels[p.key] == v
		}
		if !found {
			return conflict
		}
	}
	return nil
}

// WakesOn implements plugins.Waker.
func (*Rule) WakesOn() plugins.Kind {
	return plugins.NodeAdded | plugins.NodeLabels | plugins.ClaimChanged | plugins.VolumeChanged
}

// Wakes implements plugins.Waker.
func (*Rule) Wakes(*cache.Pod, *plugins.Event) bool { return true }
