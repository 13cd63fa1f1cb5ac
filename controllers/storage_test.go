package controllers_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func newVolume(name, class, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/volumes/" + name}},
	}}
	for _, each := range change {
		each(v)
	}
	return v
}

func newClaim(name, class, size string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}}
	for _, each := range change {
		each(claim)
	}
	return claim
}

// claimIs waits for a claim's phase and volume, and the volume's phase.
func claimIs(t *testing.T, c client.Client, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, claim)
		if claim.Status.Phase != phase || claim.Spec.VolumeName != volume {
			return fmt.Sprintf("claim is %s with %q, want %s with %q", claim.Status.Phase, claim.Spec.VolumeName, phase, volume)
		}
		return ""
	})
}

func volumeIs(t *testing.T, c client.Client, v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) {
	t.Helper()
	eventually(t, func() string {
		if get(t, c, v); v.Status.Phase != phase {
			return fmt.Sprintf("volume %s is %s, want %s: %+v", v.Name, v.Status.Phase, phase, v.Spec.ClaimRef)
		}
		return ""
	})
}

func newClass(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func TestVolumesAreBound(t *testing.T) {
	c := start(t, "persistentvolume-binder-controller", "persistentvolumeclaim-protection-controller", "persistentvolume-protection-controller")

	t.Run("the smallest volume that is large enough", func(t *testing.T) {
		large, small, tiny := newVolume("large", "plain", "10Gi"), newVolume("small", "plain", "2Gi"), newVolume("tiny", "plain", "1Mi")
		for _, v := range []*corev1.PersistentVolume{large, small, tiny} {
			create(t, c, v)
			volumeIs(t, c, v, corev1.VolumeAvailable)
		}
		claim := newClaim("data", "plain", "1Gi")
		create(t, c, claim)
		claimIs(t, c, claim, corev1.ClaimBound, "small")
		volumeIs(t, c, small, corev1.VolumeBound)
		if claim.Annotations["pv.kubernetes.io/bind-completed"] != "yes" || claim.Annotations["pv.kubernetes.io/bound-by-controller"] != "yes" {
			t.Errorf("annotations %v", claim.Annotations)
		}
		if size := claim.Status.Capacity[corev1.ResourceStorage]; size.String() != "2Gi" || small.Spec.ClaimRef.UID != claim.UID {
			t.Errorf("status %+v, volume's claim %+v", claim.Status, small.Spec.ClaimRef)
		}
		// Retained, it waits for a person.
		if err := c.Delete(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		volumeIs(t, c, small, corev1.VolumeReleased)
		volumeIs(t, c, large, corev1.VolumeAvailable)
	})

	t.Run("a claim waits for its volume to come", func(t *testing.T) {
		claim := newClaim("early", "late", "1Gi")
		create(t, c, claim)
		claimIs(t, c, claim, corev1.ClaimPending, "")
		hasEvent(t, c, "early", corev1.EventTypeWarning, "ProvisioningFailed", `storageclass.storage.k8s.io "late" not found`)
		create(t, c, newVolume("late", "late", "1Gi"))
		claimIs(t, c, claim, corev1.ClaimBound, "late")
	})

	t.Run("both sides may be chosen by hand", func(t *testing.T) {
		reserved := newVolume("reserved", "hand", "9Gi", func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "by-volume"}
		})
		create(t, c, reserved)
		create(t, c, newVolume("open", "hand", "1Gi"))
		byVolume := newClaim("by-volume", "hand", "1Gi")
		create(t, c, byVolume)
		claimIs(t, c, byVolume, corev1.ClaimBound, "reserved")
		byClaim := newClaim("by-claim", "hand", "1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "open" })
		create(t, c, byClaim)
		claimIs(t, c, byClaim, corev1.ClaimBound, "open")
		late := newClaim("too-late", "hand", "1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "open" })
		create(t, c, late)
		hasEvent(t, c, "too-late", corev1.EventTypeWarning, "FailedBinding", `volume "open" already bound to a different claim.`)
		// What a person reserved stays so.
		if err := c.Delete(t.Context(), byVolume); err != nil {
			t.Fatal(err)
		}
		volumeIs(t, c, reserved, corev1.VolumeReleased)
	})

	t.Run("a provisioner is asked", func(t *testing.T) {
		create(t, c, newClass("made", "example.com/disks", storagev1.VolumeBindingImmediate))
		claim := newClaim("made", "made", "1Gi")
		create(t, c, claim)
		hasEvent(t, c, "made", corev1.EventTypeNormal, "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner 'example.com/disks'")
		get(t, c, claim)
		if claim.Annotations["volume.kubernetes.io/storage-provisioner"] != "example.com/disks" {
			t.Errorf("annotations %v", claim.Annotations)
		}
		made := newVolume("made", "made", "1Gi", func(v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": "example.com/disks"}
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "made", UID: claim.UID}
		})
		create(t, c, made)
		claimIs(t, c, claim, corev1.ClaimBound, "made")
		// The one who made it deletes it, when it is released.
		if err := c.Delete(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		volumeIs(t, c, made, corev1.VolumeReleased)
	})

	t.Run("a claim waits for its first pod", func(t *testing.T) {
		create(t, c, newClass("patient", "example.com/disks", storagev1.VolumeBindingWaitForFirstConsumer))
		create(t, c, newVolume("patient", "patient", "1Gi"))
		claim := newClaim("patient", "patient", "1Gi")
		create(t, c, claim)
		claimIs(t, c, claim, corev1.ClaimPending, "")
		hasEvent(t, c, "patient", corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
		change(t, c, claim, func() { metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "volume.kubernetes.io/selected-node", "n1") })
		hasEvent(t, c, "patient", corev1.EventTypeNormal, "ExternalProvisioning", "Waiting for a volume")
	})

	t.Run("nobody deletes a volume that was not made", func(t *testing.T) {
		v := newVolume("kept", "kept", "1Gi", func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		})
		create(t, c, v)
		claim := newClaim("kept", "kept", "1Gi")
		create(t, c, claim)
		claimIs(t, c, claim, corev1.ClaimBound, "kept")
		if err := c.Delete(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		volumeIs(t, c, v, corev1.VolumeFailed)
		hasEvent(t, c, "kept", corev1.EventTypeWarning, "VolumeFailedDelete", `error getting deleter volume plugin for volume "kept": no deletable volume plugin matched`)
	})

	t.Run("a claim that loses its volume is lost", func(t *testing.T) {
		v := newVolume("lost", "lost", "1Gi")
		create(t, c, v)
		claim := newClaim("lost", "lost", "1Gi")
		create(t, c, claim)
		claimIs(t, c, claim, corev1.ClaimBound, "lost")
		// Somebody takes it away by force.
		if err := c.Delete(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		change(t, c, v, func() { v.Finalizers = nil })
		claimIs(t, c, claim, corev1.ClaimLost, "lost")
		hasEvent(t, c, "lost", corev1.EventTypeWarning, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	})
}

func TestManyClaimsFindManyVolumes(t *testing.T) {
	c := start(t, "persistentvolume-binder-controller")
	const count = 30
	for i := range count {
		create(t, c, newVolume(fmt.Sprint("v", i), "many", "1Gi"))
		create(t, c, newClaim(fmt.Sprint("c", i), "many", "1Gi"))
	}
	eventually(t, func() string {
		var claims corev1.PersistentVolumeClaimList
		if err := c.List(t.Context(), &claims); err != nil {
			t.Fatal(err)
		}
		taken := map[string]bool{}
		for _, claim := range claims.Items {
			if claim.Status.Phase == corev1.ClaimBound {
				taken[claim.Spec.VolumeName] = true
			}
		}
		if len(taken) != count {
			return fmt.Sprintf("%d volumes are bound", len(taken))
		}
		return ""
	})
}

func TestWhatIsUsedStays(t *testing.T) {
	c := start(t, "persistentvolume-binder-controller", "persistentvolumeclaim-protection-controller", "persistentvolume-protection-controller")
	v, claim := newVolume("used", "", "1Gi"), newClaim("used", "", "1Gi")
	create(t, c, v)
	create(t, c, claim)
	claimIs(t, c, claim, corev1.ClaimBound, "used")
	eventually(t, func() string {
		get(t, c, v)
		get(t, c, claim)
		if !slices.Contains(v.Finalizers, "kubernetes.io/pv-protection") || !slices.Contains(claim.Finalizers, "kubernetes.io/pvc-protection") {
			return fmt.Sprintf("finalizers %v, %v", v.Finalizers, claim.Finalizers)
		}
		return ""
	})
	pod := runningPod(t, c, "user", "nowhere", "", func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "used"}}}}
	})
	for _, object := range []client.Object{v, claim} {
		if err := c.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	if !exists(t, c, claim) || !exists(t, c, v) {
		t.Fatal("what is used is gone")
	}
	if err := c.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if exists(t, c, claim) || exists(t, c, v) {
			return "what nobody uses is still there"
		}
		return ""
	})
}

func TestClassesThatAreNamedStay(t *testing.T) {
	server := clustertest.APIServer(t)
	c := server.Client()
	newAttributes := func(name string) *storagev1.VolumeAttributesClass {
		class := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: name}, DriverName: "csi.example", Parameters: map[string]string{"iops": "100"}}
		create(t, c, class)
		if !slices.Contains(class.Finalizers, "kubernetes.io/vac-protection") {
			t.Errorf("created with finalizers %v", class.Finalizers)
		}
		return class
	}
	gone := func(class *storagev1.VolumeAttributesClass) {
		t.Helper()
		eventually(t, func() string {
			if exists(t, c, class) {
				return class.Name + ", which nobody names, is still there"
			}
			return ""
		})
	}
	slow, fast, unused := newAttributes("slow"), newAttributes("fast"), newAttributes("unused")
	claim := newClaim("data", "", "1Gi")
	claim.Spec.VolumeAttributesClassName = &slow.Name
	create(t, c, claim)
	v := newVolume("data", "", "1Gi", func(v *corev1.PersistentVolume) {
		v.Spec.VolumeAttributesClassName = &fast.Name
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "csi.example", VolumeHandle: "data"}}
	})
	create(t, c, v)
	slow.Finalizers = nil // as a class has that was made before there were any
	if err := c.Update(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	// Only now: the cache must know who names a class before one is deleted.
	startAt(t, server, "volumeattributesclass-protection-controller")
	eventually(t, func() string {
		get(t, c, slow)
		if !slices.Contains(slow.Finalizers, "kubernetes.io/vac-protection") {
			return "no finalizer came back"
		}
		return ""
	})
	for _, class := range []*storagev1.VolumeAttributesClass{slow, fast, unused} {
		if err := c.Delete(t.Context(), class); err != nil {
			t.Fatal(err)
		}
	}
	gone(unused)
	if !exists(t, c, slow) || !exists(t, c, fast) {
		t.Fatal("a class that is named is gone")
	}
	for _, object := range []client.Object{claim, v} {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		if err := c.Patch(t.Context(), object, patch); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	gone(slow)
	gone(fast)
}

func TestEphemeralVolumesGetClaims(t *testing.T) {
	c := start(t, "ephemeral-volume-controller")
	template := newClaim("", "", "1Gi")
	pod := runningPod(t, c, "scratch", "", "", func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: template.Spec},
		}}}}
	})
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "scratch-data"}}
	eventuallyThere(t, c, claim, func() string { return "" })
	if !metav1.IsControlledBy(claim, pod) || claim.Labels["a"] != "b" {
		t.Errorf("claim %+v", claim)
	}
	create(t, c, newClaim("other-data", "", "1Gi"))
	runningPod(t, c, "other", "", "", func(p *corev1.Pod) { p.Spec.Volumes = pod.Spec.Volumes })
	hasEvent(t, c, "other", corev1.EventTypeWarning, "FailedBinding", "ephemeral volume data: PVC default/other-data was not created for pod default/other")
}
