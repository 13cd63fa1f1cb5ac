package cycle

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/balanced"
	"github.com/skiffcluster/skiff/scheduler/plugins/fit"
	"github.com/skiffcluster/skiff/scheduler/plugins/imagelocality"
	"github.com/skiffcluster/skiff/scheduler/plugins/interpodaffinity"
	"github.com/skiffcluster/skiff/scheduler/plugins/nodeaffinity"
	"github.com/skiffcluster/skiff/scheduler/plugins/nodename"
	"github.com/skiffcluster/skiff/scheduler/plugins/nodeports"
	"github.com/skiffcluster/skiff/scheduler/plugins/nodeunschedulable"
	"github.com/skiffcluster/skiff/scheduler/plugins/podtopologyspread"
	"github.com/skiffcluster/skiff/scheduler/plugins/tainttoleration"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumebinding"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumerestrictions"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumezone"
)

// Lookup is how rules see objects other than pods and nodes. Functions that
// look one object up give nil when it is not there.
type Lookup struct {
	Namespace func(name string) labels.Set
	Selector  func(*corev1.Pod) labels.Selector
	Claim     func(namespace, name string) *corev1.PersistentVolumeClaim
	Volume    func(name string) *corev1.PersistentVolume
	Volumes   func() []*corev1.PersistentVolume
	Class     func(name string) *storagev1.StorageClass
	Taken     func(volume string) string
}

// Rules are what a cycle runs.
type Rules struct {
	Filters []plugins.Filter // in order: a node's first rejection counts
	Scores  []Weighted
	Volumes *volumebinding.Rule
}

// Weighted is a scoring rule with its weight.
type Weighted struct {
	plugins.Score
	Weight int64
}

// DefaultRules are kube-scheduler's default plugins, in its order and with its
// weights.
func DefaultRules(l Lookup) Rules {
	affinity := &interpodaffinity.Rule{Namespace: l.Namespace}
	spread := &podtopologyspread.Rule{Selector: l.Selector}
	volumes := &volumebinding.Rule{Claim: l.Claim, Volume: l.Volume, Volumes: l.Volumes, Class: l.Class, Taken: l.Taken}
	return Rules{
		Filters: []plugins.Filter{
			nodeunschedulable.Rule{},
			nodename.Rule{},
			tainttoleration.Rule{},
			nodeaffinity.Rule{},
			nodeports.Rule{},
			fit.Rule{},
			&volumerestrictions.Rule{Claim: l.Claim},
			volumes,
			&volumezone.Rule{Claim: l.Claim, Volume: l.Volume},
			spread,
			affinity,
		},
		Scores: []Weighted{
			{tainttoleration.Rule{}, 3},
			{nodeaffinity.Rule{}, 2},
			{spread, 2},
			{affinity, 2},
			{fit.Rule{}, 1},
			{balanced.Rule{}, 1},
			{imagelocality.Rule{}, 1},
		},
		Volumes: volumes,
	}
}

// Wakers are the rules that say which events they wait for.
func (r *Rules) Wakers() []plugins.Waker {
	var out []plugins.Waker
	for _, f := range r.Filters {
		if w, ok := f.(plugins.Waker); ok {
			out = append(out, w)
		}
	}
	return out
}
