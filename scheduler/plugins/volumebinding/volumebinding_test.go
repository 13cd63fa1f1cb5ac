package volumebinding_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumebinding"
)

func claim(class string, edit ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", Annotations: map[string]string{}, ResourceVersion: "10"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

func bound(c *corev1.PersistentVolumeClaim) {
	c.Spec.VolumeName = "pv"
	c.Annotations[volume.AnnBindCompleted] = "yes"
}

func selected(node string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Annotations[volume.AnnSelectedNode] = node }
}

// pv is a free volume of the class "local" that is only reached from node n1.
func pv(name string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "local", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: "In", Values: []string{"n1"}}},
			}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
}

func rule(c *corev1.PersistentVolumeClaim, taken string, volumes ...*corev1.PersistentVolume) *volumebinding.Rule {
	return &volumebinding.Rule{
		Claim:   func(string, string) *corev1.PersistentVolumeClaim { return c },
		Volumes: func() []*corev1.PersistentVolume { return volumes },
		Volume: func(name string) *corev1.PersistentVolume {
			for _, v := range volumes {
				if v.Name == name {
					return v
				}
			}
			return nil
		},
		Class: func(name string) *storagev1.StorageClass {
			class := &storagev1.StorageClass{VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)}
			switch name {
			case "local":
				class.Provisioner = volume.NotSupportedProvisioner
			case "dynamic":
				class.Provisioner = "example.com/disks"
				class.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{
					{Key: corev1.LabelTopologyZone, Values: []string{"b"}},
				}}}
			case "immediate":
				class.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
			default:
				return nil
			}
			return class
		},
		Taken: func(string) string { return taken },
	}
}

func using(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
}

func TestFilter(t *testing.T) {
	const (
		none    = "node(s) didn't find available persistent volumes to bind"
		wrong   = "node(s) didn't match PersistentVolume's node affinity"
		missing = `persistentvolumeclaim "data" not found`
		unbound = "pod has unbound immediate PersistentVolumeClaims"
		lost    = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
		dying   = `persistentvolumeclaim "data" is being deleted`
	)
	for name, test := range map[string]struct {
		rule *volumebinding.Rule
		want map[string]string
	}{
		"a claim is missing":                     {rule(nil, ""), map[string]string{"n1": missing, "n2": missing}},
		"a claim is being deleted":               {rule(claim("local", func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }), ""), map[string]string{"n1": dying, "n2": dying}},
		"an immediate claim is not bound yet":    {rule(claim("immediate"), ""), map[string]string{"n1": unbound, "n2": unbound}},
		"a bound volume is on one node":          {rule(claim("local", bound), "", pv("pv")), map[string]string{"n1": "", "n2": wrong}},
		"a bound volume is gone":                 {rule(claim("local", bound), ""), map[string]string{"n1": lost, "n2": lost}},
		"a free volume is on one node":           {rule(claim("local"), "", pv("free")), map[string]string{"n1": "", "n2": none}},
		"the free volume is being given away":    {rule(claim("local"), "default/other", pv("free")), map[string]string{"n1": none, "n2": none}},
		"a volume is made where the class may":   {rule(claim("dynamic"), ""), map[string]string{"n1": none, "n2": ""}},
		"a volume is being made on another node": {rule(claim("dynamic", selected("n1")), ""), map[string]string{"n1": "", "n2": none}},
	} {
		t.Run(name, func(t *testing.T) {
			turn := Turn(t, Pod("p", "", using), []*corev1.Node{Node("n1", "a"), Node("n2", "b")})
			if got := Judge(test.rule, turn); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestPlanGivesFreeVolumesAndAsksForOthers(t *testing.T) {
	p := Parse(t, Pod("p", "", using))
	plan, err := rule(claim("local"), "", pv("free")).Plan(p, Node("n1", "a"))
	if err != nil || len(plan) != 1 || plan[0].Volume == nil || plan[0].Volume.Name != "free" {
		t.Errorf("free volume: %+v %v", plan, err)
	}
	plan, err = rule(claim("dynamic"), "").Plan(p, Node("n2", "b"))
	if err != nil || len(plan) != 1 || plan[0].Volume != nil {
		t.Errorf("to be made: %+v %v", plan, err)
	}
	if _, err = rule(claim("local"), "").Plan(p, Node("n1", "a")); err == nil {
		t.Error("no volume: planned all the same")
	}
}

func TestProgress(t *testing.T) {
	plan := []volumebinding.Binding{{Claim: claim("dynamic", selected("n2"))}}
	version := func(v string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.ResourceVersion = v }
	}
	for name, test := range map[string]struct {
		shown *corev1.PersistentVolumeClaim
		want  volumebinding.State
	}{
		"our write is not shown yet":       {claim("dynamic", version("9")), volumebinding.Waiting},
		"the volume is being made":         {claim("dynamic", selected("n2")), volumebinding.Waiting},
		"the claim is bound":               {claim("dynamic", selected("n2"), bound), volumebinding.Bound},
		"the provisioner gave the node up": {claim("dynamic", version("11")), volumebinding.Rejected},
		"the claim is gone":                {nil, volumebinding.Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rule(test.shown, "").Progress(plan, "n2"); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
