package storage_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	if cells[0] != "fast (default)" || cells[2] != "Delete" || cells[3] != "Immediate" || cells[4] != false {
		t.Errorf("%v", cells)
	}
	changed := c.DeepCopy()
	changed.Provisioner, changed.Parameters = "example.com/slow", map[string]string{"a": "b"}
	*changed.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	kindtest.Errors(t, storage.StorageClass.ValidateUpdate(changed, c), "parameters: Forbidden: updates to parameters are forbidden.",
		"provisioner: Forbidden: updates to provisioner are forbidden.", "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.")
	changed.Provisioner = ""
	*changed.ReclaimPolicy = corev1.PersistentVolumeReclaimRecycle
	kindtest.Errors(t, storage.StorageClass.Validate(changed), "provisioner: Required value",
		`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`)
}
