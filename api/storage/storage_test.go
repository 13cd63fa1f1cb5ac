package storage_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/storage"
)

func TestStorageClass(t *testing.T) {
	c := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "fast", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "example.com/fast",
	}
	storage.StorageClass.Default(c)
	kindtest.Errors(t, storage.StorageClass.Validate(c))
	cells := storage.StorageClass.Erase().Cells(c)
	if cells[0] != "fast" || cells[2] != "Delete" || cells[3] != "Immediate" || cells[4] != false {
		t.Errorf("%v", cells)
	}
	old := c.DeepCopy()
	old.AllowedTopologies = []corev1.TopologySelectorTerm{
		{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelFailureDomainBetaZone, Values: []string{"a"}}}}, {},
	}
	if w := storage.StorageClass.Warnings(old, nil); len(w) != 1 || !strings.Contains(w[0], "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17") {
		t.Errorf("%q", w)
	}
	kindtest.Errors(t, storage.StorageClass.Validate(old), "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"", "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"")
	changed := c.DeepCopy()
	changed.Provisioner, changed.Parameters = "example.com/slow", map[string]string{"a": "b"}
	*changed.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	kindtest.Errors(t, storage.StorageClass.ValidateUpdate(changed, c), "provisioner: Invalid value: null: field is immutable",
		"parameters: Invalid value: null: field is immutable", "reclaimPolicy: Invalid value: null: field is immutable")
	changed.Provisioner = ""
	*changed.ReclaimPolicy = corev1.PersistentVolumeReclaimRecycle
	kindtest.Errors(t, storage.StorageClass.Validate(changed), "provisioner: Required value",
		`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`)
}

func TestDrivers(t *testing.T) {
	d := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}}
	storage.CSIDriver.Default(d)
	kindtest.Errors(t, storage.CSIDriver.Validate(d))
	if cells := storage.CSIDriver.Erase().Cells(d); cells[1] != true || cells[4] != "<unset>" || cells[6] != "Persistent" {
		t.Errorf("%v", cells)
	}
	d.Spec.TokenRequests = []storagev1.TokenRequest{{Audience: "a", ExpirationSeconds: new(int64)}, {Audience: "a"}}
	kindtest.Errors(t, storage.CSIDriver.Validate(d), "spec.tokenRequests[0].expirationSeconds: Invalid value: 0: may not specify a duration less than 10 minutes",
		`spec.tokenRequests[1].audience: Duplicate value: "a"`)

	n := &storagev1.CSINode{Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "csi.example.com"}}}}
	kindtest.Errors(t, storage.CSINode.Validate(n), "spec.drivers[0].nodeID: Required value")
	n.Spec.Drivers[0].NodeID = strings.Repeat("n", 257)
	kindtest.Errors(t, storage.CSINode.Validate(n), `spec.drivers[0].nodeID: Invalid value: "`+n.Spec.Drivers[0].NodeID+`": must be 256 characters or less`)
	n.Spec.Drivers[0].NodeID, n.Spec.Drivers[0].TopologyKeys = "n", []string{"a", "a", ""}
	kindtest.Errors(t, storage.CSINode.Validate(n), `spec.drivers[0]: Duplicate value: "a"`, "spec.drivers[0]: Required value",
		`spec.drivers[0]: Invalid value: "": name part must be non-empty`, `spec.drivers[0]: Invalid value: "": name part must consist of`)
	d.Spec.TokenRequests, d.Spec.ServiceAccountTokenInSecrets = nil, new(bool)
	kindtest.Errors(t, storage.CSIDriver.Validate(d),
		"spec.serviceAccountTokenInSecrets: Invalid value: false: serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	d = &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "Bad_Name!"}}
	storage.CSIDriver.Default(d)
	kindtest.Errors(t, storage.CSIDriver.Validate(d)) // all kinds tell of metadata.name
}

func TestVolumeAttachment(t *testing.T) {
	volume := "pv1"
	a := &storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{
		Attacher: "csi.example.com", NodeName: "n1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
	}}
	kindtest.Errors(t, storage.VolumeAttachment.Validate(a))
	moved := a.DeepCopy()
	moved.Spec.NodeName = "n2"
	kindtest.Errors(t, storage.VolumeAttachment.ValidateUpdate(moved, a), "spec: Invalid value: ")
	unnamed := a.DeepCopy()
	unnamed.Spec.Attacher, unnamed.Spec.Source.PersistentVolumeName = "Bad_Value!", new(string)
	kindtest.Errors(t, storage.VolumeAttachment.Validate(unnamed), "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
		`spec.source.persistentVolumeName: Invalid value: "": a lowercase RFC 1123 subdomain`,
		`spec.attacher: Invalid value: "Bad_Value!": an RFC 1123 subdomain must consist of alphanumeric characters`)
	unnamed.Spec.Attacher, unnamed.Spec.Source.PersistentVolumeName = strings.Repeat("a", 64), &volume
	kindtest.Errors(t, storage.VolumeAttachment.Validate(unnamed), "spec.attacher: Too long: may not be more than 63 characters")
	inline := a.DeepCopy()
	inline.Spec.Source = storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{}, PersistentVolumeReclaimPolicy: "Delete", ClaimRef: &corev1.ObjectReference{}, StorageClassName: "c",
		VolumeMode: ptr.To(corev1.PersistentVolumeBlock), NodeAffinity: &corev1.VolumeNodeAffinity{},
	}}
	const at, why = "spec.source.inlineVolumeSpec", ": Forbidden: may not be specified in the context of inline volumes"
	kindtest.Errors(t, storage.VolumeAttachment.Validate(inline), at+".claimRef"+why,
		at+".csi: Required value: has to be specified in the context of inline volumes", at+".accessModes: Required value",
		at+".persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes", at+".nodeAffinity"+why,
		at+": Required value: must specify a volume type", at+".storageClassName"+why,
		at+".volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes")
	failed := a.DeepCopy()
	failed.Status.AttachError = &storagev1.VolumeError{ErrorCode: ptr.To[int32](-1)}
	kindtest.Errors(t, storage.VolumeAttachment.Status.Validate(failed, a), "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive")
	a.Spec.Source.PersistentVolumeName = nil
	kindtest.Errors(t, storage.VolumeAttachment.Validate(a), "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName")
}

func TestStorageCapacity(t *testing.T) {
	c := &storagev1.CSIStorageCapacity{StorageClassName: "fast"}
	kindtest.Errors(t, storage.CSIStorageCapacity.Validate(c))
	kindtest.Errors(t, storage.CSIStorageCapacity.ValidateUpdate(&storagev1.CSIStorageCapacity{StorageClassName: "slow"}, c), "storageClassName: Invalid value: ")
}
