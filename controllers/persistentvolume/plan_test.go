package persistentvolume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

func newVolume(name, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: "plain", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
	}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	for _, each := range change {
		each(v)
	}
	return v
}

func of(name, uid string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: name}
		if uid != "" {
			v.Spec.ClaimRef.UID = types.UID("uid-" + uid)
		}
	}
}

func shared(v *corev1.PersistentVolume) {
	v.Spec.AccessModes = append(v.Spec.AccessModes, corev1.ReadOnlyMany)
}

func newClaim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: "uid-data"}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To("plain"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	for _, each := range change {
		each(c)
	}
	return c
}

func TestFindVolume(t *testing.T) {
	for _, c := range []struct {
		name    string
		volumes []*corev1.PersistentVolume
		waits   bool
		want    string
	}{
		{"the smallest that is large enough", []*corev1.PersistentVolume{newVolume("large", "9Gi"), newVolume("fits", "2Gi"), newVolume("small", "1Mi")}, false, "fits"},
		{"one that can no more than is asked for", []*corev1.PersistentVolume{newVolume("shared", "1Gi", shared), newVolume("plain", "2Gi")}, false, "plain"},
		{"one that can more rather than none", []*corev1.PersistentVolume{newVolume("shared", "1Gi", shared)}, false, "shared"},
		{"one that is reserved for the claim", []*corev1.PersistentVolume{newVolume("free", "1Gi"), newVolume("meant", "9Gi", of("data", ""))}, false, "meant"},
		{"none that is another's", []*corev1.PersistentVolume{newVolume("other", "1Gi", of("other", "x"))}, false, ""},
		{"none of a claim of the same name that is gone", []*corev1.PersistentVolume{newVolume("old", "1Gi", of("data", "old"))}, false, ""},
		{"none while the claim waits for a pod", []*corev1.PersistentVolume{newVolume("free", "1Gi")}, true, ""},
		{"unless the scheduler has reserved it", []*corev1.PersistentVolume{newVolume("free", "1Gi", of("data", "data"))}, true, "free"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := findVolume(newClaim(), c.volumes, c.waits)
			got := ""
			if found != nil {
				got = found.Name
			}
			if err != nil || got != c.want {
				t.Errorf("finds %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestMismatch(t *testing.T) {
	for _, c := range []struct {
		name   string
		volume *corev1.PersistentVolume
		want   string
	}{
		{"one that serves", newVolume("v", "1Gi"), ""},
		{"too small", newVolume("v", "1Mi"), "requested PV is too small"},
		{"of another class", newVolume("v", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "" }), "storageClassName does not match"},
		{"a device", newVolume("v", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }), "incompatible volumeMode"},
		{"for reading only", newVolume("v", "1Gi", func(v *corev1.PersistentVolume) {
			v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
		}), "incompatible accessMode"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := mismatch(newClaim(), c.volume); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanVolume(t *testing.T) {
	has := func(name string) *corev1.PersistentVolumeClaim {
		return newClaim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name })
	}
	made := func(v *corev1.PersistentVolume) {
		v.Annotations = map[string]string{volume.AnnDynamicallyProvisioned: "example.com/disks"}
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
	}
	for _, c := range []struct {
		name   string
		volume *corev1.PersistentVolume
		claim  *corev1.PersistentVolumeClaim
		want   outcome
	}{
		{"nobody's", newVolume("v", "1Gi"), nil, available},
		{"reserved for a claim that does not know", newVolume("v", "1Gi", of("data", "")), nil, available},
		{"its claim is gone", newVolume("v", "1Gi", of("data", "data")), nil, release},
		{"its claim was made anew", newVolume("v", "1Gi", of("data", "old")), has("v"), release},
		{"its claim has it", newVolume("v", "1Gi", of("data", "data")), has("v"), bound},
		{"its claim is about to have it", newVolume("v", "1Gi", of("data", "data")), has(""), leaveAlone},
		{"its claim has another", newVolume("v", "1Gi", of("data", "data")), has("w"), unbind},
		{"made in vain", newVolume("v", "1Gi", of("data", "data"), made), has("w"), release},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := planVolume(c.volume, c.claim); got != c.want {
				t.Errorf("outcome %d, want %d", got, c.want)
			}
		})
	}
}

func TestPlanUnbound(t *testing.T) {
	byHand := planUnbound(newVolume("v", "1Gi", of("data", "data")))
	if byHand.Spec.ClaimRef == nil || byHand.Spec.ClaimRef.UID != "" {
		t.Errorf("a reserved volume is of %+v", byHand.Spec.ClaimRef)
	}
	byUs := planUnbound(newVolume("v", "1Gi", of("data", "data"), func(v *corev1.PersistentVolume) {
		v.Annotations = map[string]string{volume.AnnBoundByController: "yes"}
	}))
	if byUs.Spec.ClaimRef != nil || len(byUs.Annotations) > 0 {
		t.Errorf("a volume that was chosen is of %+v, %v", byUs.Spec.ClaimRef, byUs.Annotations)
	}
}
