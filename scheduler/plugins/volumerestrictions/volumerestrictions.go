// Package volumerestrictions is the rule that volumes which only one pod may
// use at a time are not used by two.
//
// Reads volumes of pods and access modes of claims; writes nothing. Start at
// Rule.
package volumerestrictions

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "VolumeRestrictions"

var (
	diskConflict = plugins.Reject(Name, plugins.Unschedulable, "node(s) had no available disk")
	oncePod      = plugins.Reject(Name, plugins.Unschedulable,
		"node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
)

// Rule implements plugins.Filter.
type Rule struct {
	// Claim gives a claim or nil. A missing one is VolumeBinding's matter.
	Claim func(namespace, name string) *corev1.PersistentVolumeClaim
}

// Name implements plugins.Filter.
func (*Rule) Name() string { return Name }

// check knows the pod's volumes that may conflict. once are its claims that
// only one pod may use, users the number of pods that do, in the cluster.
type check struct {
	pod   *cache.Pod
	disks bool
	once  []string
	users int
}

// PreFilter implements plugins.Filter.
func (r *Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	c := &check{pod: t.Pod, disks: slices.ContainsFunc(t.Pod.Spec.Volumes, isDisk)}
	for _, name := range t.Pod.Claims {
		claim := r.Claim(t.Pod.Namespace, name)
		if claim == nil || !slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			continue
		}
		key := t.Pod.Namespace + "/" + name
		c.once = append(c.once, key)
		if t.Snapshot.ClaimUsed(key) {
			c.users++
		}
	}
	if !c.disks && len(c.once) == 0 {
		return nil, nil
	}
	return c, nil
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	if c.disks {
		for _, p := range n.Pods {
			if conflicts(c.pod.Pod, p.Pod) {
				return diskConflict
			}
		}
	}
	if c.users > 0 {
		return oncePod
	}
	return nil
}

// Clone implements plugins.PodCheck.
func (c *check) Clone() plugins.PodCheck {
	d := *c
	return &d
}

// Count implements plugins.PodCheck.
func (c *check) Count(p *cache.Pod, _ *cache.Node, sign int) {
	for _, name := range p.Claims {
		if slices.Contains(c.once, p.Namespace+"/"+name) {
			c.users += sign
		}
	}
}

func isDisk(v corev1.Volume) bool {
	return v.GCEPersistentDisk != nil || v.AWSElasticBlockStore != nil || v.RBD != nil || v.ISCSI != nil
}

func conflicts(a, b *corev1.Pod) bool {
	for i := range a.Spec.Volumes {
		if !isDisk(a.Spec.Volumes[i]) {
			continue
		}
		for j := range b.Spec.Volumes {
			if sameDisk(&a.Spec.Volumes[i], &b.Spec.Volumes[j]) {
				return true
			}
		}
	}
	return false
}

// sameDisk tells whether two volumes are one disk that cannot be used twice;
// most kinds can be when both only read.
func sameDisk(a, b *corev1.Volume) bool {
	if a.GCEPersistentDisk != nil && b.GCEPersistentDisk != nil {
		x, y := a.GCEPersistentDisk, b.GCEPersistentDisk
		return x.PDName == y.PDName && !(x.ReadOnly && y.ReadOnly)
	}
	if a.AWSElasticBlockStore != nil && b.AWSElasticBlockStore != nil {
		return a.AWSElasticBlockStore.VolumeID == b.AWSElasticBlockStore.VolumeID
	}
	if a.ISCSI != nil && b.ISCSI != nil {
		return a.ISCSI.IQN == b.ISCSI.IQN && !(a.ISCSI.ReadOnly && b.ISCSI.ReadOnly)
	}
	if a.RBD != nil && b.RBD != nil {
		x, y := a.RBD, b.RBD
		monitors := slices.ContainsFunc(x.CephMonitors, func(m string) bool { return slices.Contains(y.CephMonitors, m) })
		return monitors && x.RBDPool == y.RBDPool && x.RBDImage == y.RBDImage && !(x.ReadOnly && y.ReadOnly)
	}
	return false
}

// WakesOn implements plugins.Waker.
func (*Rule) WakesOn() plugins.Kind {
	return plugins.NodeAdded | plugins.PodRemoved | plugins.ClaimChanged
}

// Wakes implements plugins.Waker.
func (*Rule) Wakes(*cache.Pod, *plugins.Event) bool { return true }
