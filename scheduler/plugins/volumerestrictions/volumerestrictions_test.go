package volumerestrictions_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumerestrictions"
)

func disk(readOnly bool) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "d", ReadOnly: readOnly},
		}}}
	}
}

func usingClaim(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
}

func TestFilter(t *testing.T) {
	const once = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
	for name, test := range map[string]struct {
		pod, there *corev1.Pod
		mode       corev1.PersistentVolumeAccessMode
		want       map[string]string
	}{
		"a disk is in use on the node":           {Pod("p", "", disk(false)), Pod("q", "", On("n1"), disk(false)), "", map[string]string{"n1": "node(s) had no available disk", "n2": ""}},
		"two pods may read a disk":               {Pod("p", "", disk(true)), Pod("q", "", On("n1"), disk(true)), "", map[string]string{"n1": "", "n2": ""}},
		"a claim for one pod is used anywhere":   {Pod("p", "", usingClaim), Pod("q", "", On("n1"), usingClaim), corev1.ReadWriteOncePod, map[string]string{"n1": once, "n2": once}},
		"a claim for one node is used by others": {Pod("p", "", usingClaim), Pod("q", "", On("n1"), usingClaim), corev1.ReadWriteOnce, map[string]string{"n1": "", "n2": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			rule := &volumerestrictions.Rule{Claim: func(string, string) *corev1.PersistentVolumeClaim {
				return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{test.mode}}}
			}}
			got := Judge(rule, Turn(t, test.pod, []*corev1.Node{Node("n1", ""), Node("n2", "")}, test.there))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
