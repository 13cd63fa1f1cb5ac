package volumezone_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumezone"
)

func TestVolumeIsOnlyUsedInItsZones(t *testing.T) {
	rule := &volumezone.Rule{
		Claim: func(string, string) *corev1.PersistentVolumeClaim {
			return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}}
		},
		Volume: func(string) *corev1.PersistentVolume {
			return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: "a__b"}}}
		},
	}
	pod := Pod("p", "", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
	})
	const no = "node(s) had no available volume zone"
	want := map[string]string{"n1": "", "n2": "", "n3": no, "n4": no}
	got := Judge(rule, Turn(t, pod, []*corev1.Node{Node("n1", "a"), Node("n2", "b"), Node("n3", "c"), Node("n4", "")}))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
