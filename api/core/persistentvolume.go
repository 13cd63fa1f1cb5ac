package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// PersistentVolume is a piece of storage.
var PersistentVolume = api.Of[corev1.PersistentVolume]{
	Group: corev1.GroupName, Version: "v1", Kind: "PersistentVolume", Resource: "persistentvolumes",
	ReturnDeleted: true,
	ShortNames:    []string{"pv"},
	ClusterScoped: true,

	Default:        defaultPersistentVolume,
	Validate:       validatePersistentVolume,
	ValidateUpdate: validatePersistentVolumeUpdate,
	Warnings:       warnPersistentVolume,

	Status: &api.Status[corev1.PersistentVolume]{
		ResetOnCreate: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: ptr.To(metav1.Now())}
		},
		PrepareUpdate: timePhase,
	},

	Columns: []api.Column[corev1.PersistentVolume]{
		print.Name[corev1.PersistentVolume](),
		{
			Name: "Capacity", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["capacity"],
			Value: func(v *corev1.PersistentVolume) any { return v.Spec.Capacity.Storage().String() },
		},
		{
			Name: "Access Modes", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["accessModes"],
			Value: func(v *corev1.PersistentVolume) any { return accessModes(v.Spec.AccessModes) },
		},
		{
			Name: "Reclaim Policy", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["persistentVolumeReclaimPolicy"],
			Value: func(v *corev1.PersistentVolume) any { return string(v.Spec.PersistentVolumeReclaimPolicy) },
		},
		{
			Name: "Status", Description: corev1.PersistentVolumeStatus{}.SwaggerDoc()["phase"],
			Value: func(v *corev1.PersistentVolume) any {
				if v.DeletionTimestamp != nil {
					return "Terminating"
				}
				return string(v.Status.Phase)
			},
		},
		{
			Name: "Claim", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["claimRef"],
			Value: func(v *corev1.PersistentVolume) any {
				if ref := v.Spec.ClaimRef; ref != nil {
					return ref.Namespace + "/" + ref.Name
				}
				return ""
			},
		},
		{
			Name: "StorageClass", Description: "StorageClass of the pv",
			Value: func(v *corev1.PersistentVolume) any { return volume.GetPersistentVolumeClass(v) },
		},
		{
			Name: "VolumeAttributesClass", Description: "VolumeAttributesClass of the pv",
			Value: func(v *corev1.PersistentVolume) any { return ptr.Deref(v.Spec.VolumeAttributesClassName, unset) },
		},
		{
			Name: "Reason", Description: corev1.PersistentVolumeStatus{}.SwaggerDoc()["reason"],
			Value: func(v *corev1.PersistentVolume) any { return v.Status.Reason },
		},
		print.Age[corev1.PersistentVolume](),
		{
			Name: "VolumeMode", Priority: 1, Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["volumeMode"],
			Value: func(v *corev1.PersistentVolume) any { return string(ptr.Deref(v.Spec.VolumeMode, unset)) },
		},
	},
}

// timePhase notes when the phase changed, unless the client has.
func timePhase(v, old *corev1.PersistentVolume) {
	s, before := &v.Status, &old.Status
	switch {
	case s.Phase == before.Phase && s.LastPhaseTransitionTime == nil:
		s.LastPhaseTransitionTime = before.LastPhaseTransitionTime
	case s.Phase != before.Phase && (s.LastPhaseTransitionTime == nil || s.LastPhaseTransitionTime.Equal(before.LastPhaseTransitionTime)):
		s.LastPhaseTransitionTime = ptr.To(metav1.Now())
	}
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	if v.Status.Phase == "" {
		v.Status.Phase = corev1.VolumePending
	}
	set(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	setPtr(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(v.Spec.Capacity)
	if s := v.Spec.HostPath; s != nil {
		setPtr(&s.Type, corev1.HostPathUnset)
	}
	if s := v.Spec.ISCSI; s != nil {
		set(&s.ISCSIInterface, "default")
	}
	if s := v.Spec.RBD; s != nil {
		set(&s.RBDPool, "rbd")
		set(&s.RadosUser, "admin")
		set(&s.Keyring, "/etc/ceph/keyring")
	}
	if s := v.Spec.ScaleIO; s != nil {
		set(&s.StorageMode, "ThinProvisioned")
		set(&s.FSType, "xfs")
	}
	// Disks of Azure are defaulted as those of pods are.
	defaultRemoteVolume(&corev1.Volume{VolumeSource: corev1.VolumeSource{AzureDisk: v.Spec.AzureDisk}})
}

func warnPersistentVolume(v, _ *corev1.PersistentVolume) []string {
	warnings := warnBetaClass(v.Annotations)
	if _, old := v.Annotations[corev1.MountOptionAnnotation]; old {
		warnings = append(warnings, fmt.Sprintf("metadata.annotations[%s]: deprecated since v1.31; use \"mountOptions\" attribute instead", corev1.MountOptionAnnotation))
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		warnings = append(warnings, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "+
			"Instead, the recommended approach is to use dynamic provisioning.")
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		for i, term := range a.Required.NodeSelectorTerms {
			for k, e := range term.MatchExpressions {
				if message, old := OldNodeLabel(e.Key); old {
					warnings = append(warnings, fmt.Sprintf("spec.nodeAffinity.required.nodeSelectorTerms[%d].matchExpressions[%d].key: %s is %s", i, k, e.Key, message))
				}
			}
		}
	}
	for _, gone := range []struct {
		is   bool
		text string
	}{
		{v.Spec.CephFS != nil, "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"},
		{v.Spec.PhotonPersistentDisk != nil, "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+"},
		{v.Spec.RBD != nil, "spec.rbd: deprecated in v1.28, non-functional in v1.31+"},
		{v.Spec.ScaleIO != nil, "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+"},
		{v.Spec.StorageOS != nil, "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"},
		{v.Spec.Glusterfs != nil, "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"},
	} {
		if gone.is {
			warnings = append(warnings, gone.text)
		}
	}
	return warnings
}
