package core

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

func validatePersistentVolume(v *corev1.PersistentVolume) field.ErrorList {
	// The checks of pods' volumes are those of a spec of which nothing is known.
	s := &podSpec{spec: &corev1.PodSpec{}}
	spec, fld := &v.Spec, field.NewPath("spec")
	checkVolumeAccess(&s.Errors, spec.AccessModes, fld.Child("accessModes"))
	if len(spec.Capacity) == 0 {
		s.Required(fld.Child("capacity"), "")
	}
	if _, storage := spec.Capacity[corev1.ResourceStorage]; !storage || len(spec.Capacity) > 1 {
		s.Add(field.ErrorList{field.NotSupported(fld.Child("capacity"), spec.Capacity, []corev1.ResourceName{corev1.ResourceStorage})})
	}
	for _, name := range validate.Keys(spec.Capacity) {
		p := fld.Child("capacity").Key(string(name))
		s.ResourceValue(p, name, spec.Capacity[name])
		checkPositive(&s.Errors, spec.Capacity[name], p)
	}
	if policy := spec.PersistentVolumeReclaimPolicy; policy != "" {
		validate.Enum(&s.Errors, fld.Child("persistentVolumeReclaimPolicy"), policy, corev1.PersistentVolumeReclaimDelete,
			corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	}
	if a := spec.NodeAffinity; a != nil {
		if a.Required == nil {
			s.Required(fld.Child("nodeAffinity", "required"), "must specify required node constraints")
		} else {
			s.Add(ValidateNodeSelector(a.Required, fld.Child("nodeAffinity", "required")))
		}
	}
	s.checkPersistentSource(spec, fld)
	if spec.HostPath != nil && path.Clean(spec.HostPath.Path) == "/" &&
		spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		s.Forbidden(fld.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	if spec.StorageClassName != "" {
		s.Name(fld.Child("storageClassName"), spec.StorageClassName, apivalidation.NameIsDNSSubdomain)
	}
	if spec.VolumeMode != nil {
		validate.Enum(&s.Errors, fld.Child("volumeMode"), *spec.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	if class := spec.VolumeAttributesClassName; class != nil {
		if *class == "" {
			s.Required(fld.Child("volumeAttributesClassName"), "an empty string is disallowed")
		} else {
			s.Name(fld.Child("volumeAttributesClassName"), *class, apivalidation.NameIsDNSSubdomain)
		}
		if spec.CSI == nil {
			s.Required(fld.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
	return s.List()
}

func checkVolumeAccess(e *validate.Errors, modes []corev1.PersistentVolumeAccessMode, fld *field.Path) {
	if len(modes) == 0 {
		e.Required(fld, "")
	}
	for _, m := range modes {
		validate.Enum(e, fld, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
	}
	other := func(m corev1.PersistentVolumeAccessMode) bool { return m != corev1.ReadWriteOncePod }
	if slices.Contains(modes, corev1.ReadWriteOncePod) && slices.ContainsFunc(modes, other) {
		e.Forbidden(fld, "may not use ReadWriteOncePod with other access modes")
	}
}

// checkPersistentSource checks that a volume is of one type and that this one
// is right.
func (s *podSpec) checkPersistentSource(spec *corev1.PersistentVolumeSpec, fld *field.Path) {
	same := asPodVolume(&spec.PersistentVolumeSource)
	types := slices.Concat(
		[]volumeType{{"hostPath", spec.HostPath != nil, func(p *field.Path) { s.checkHostPath(spec.HostPath, p) }}},
		s.remoteVolumes(&same, fld),
		[]volumeType{
			{"csi", spec.CSI != nil, func(p *field.Path) { s.checkPersistentCSI(spec.CSI, p) }},
			{"local", spec.Local != nil, func(p *field.Path) {
				if spec.Local.Path == "" {
					s.Required(p.Child("path"), "")
				} else {
					s.checkNoBacksteps(p.Child("path"), spec.Local.Path)
				}
				if spec.NodeAffinity == nil {
					s.Required(fld.Child("nodeAffinity"), "Local volume requires node affinity")
				}
			}},
		},
	)
	n := 0
	for _, t := range types {
		switch {
		case !t.set:
		case n > 0:
			s.Forbidden(fld.Child(t.name), "may not specify more than 1 volume type")
		default:
			n++
			t.check(fld.Child(t.name))
		}
	}
	if n == 0 {
		s.Required(fld, "must specify a volume type")
	}
}

// asPodVolume is the volume as a pod could have it inline. What only
// persistent volumes have (a namespace of secrets, say) is left out.
func asPodVolume(s *corev1.PersistentVolumeSource) corev1.Volume {
	v := corev1.VolumeSource{
		GCEPersistentDisk: s.GCEPersistentDisk, AWSElasticBlockStore: s.AWSElasticBlockStore, NFS: s.NFS, FC: s.FC,
		Flocker: s.Flocker, VsphereVolume: s.VsphereVolume, Quobyte: s.Quobyte, AzureDisk: s.AzureDisk,
		PhotonPersistentDisk: s.PhotonPersistentDisk, PortworxVolume: s.PortworxVolume,
	}
	if g := s.Glusterfs; g != nil {
		v.Glusterfs = &corev1.GlusterfsVolumeSource{EndpointsName: g.EndpointsName, Path: g.Path}
	}
	if r := s.RBD; r != nil {
		v.RBD = &corev1.RBDVolumeSource{CephMonitors: r.CephMonitors, RBDImage: r.RBDImage}
	}
	if i := s.ISCSI; i != nil {
		v.ISCSI = &corev1.ISCSIVolumeSource{
			TargetPortal: i.TargetPortal, IQN: i.IQN, Lun: i.Lun, InitiatorName: i.InitiatorName,
			DiscoveryCHAPAuth: i.DiscoveryCHAPAuth, SessionCHAPAuth: i.SessionCHAPAuth, SecretRef: localRef(i.SecretRef),
		}
	}
	if c := s.Cinder; c != nil {
		v.Cinder = &corev1.CinderVolumeSource{VolumeID: c.VolumeID, SecretRef: localRef(c.SecretRef)}
	}
	if c := s.CephFS; c != nil {
		v.CephFS = &corev1.CephFSVolumeSource{Monitors: c.Monitors}
	}
	if f := s.FlexVolume; f != nil {
		v.FlexVolume = &corev1.FlexVolumeSource{Driver: f.Driver, Options: f.Options}
	}
	if a := s.AzureFile; a != nil {
		v.AzureFile = &corev1.AzureFileVolumeSource{SecretName: a.SecretName, ShareName: a.ShareName}
	}
	if i := s.ScaleIO; i != nil {
		v.ScaleIO = &corev1.ScaleIOVolumeSource{Gateway: i.Gateway, System: i.System, VolumeName: i.VolumeName}
	}
	if o := s.StorageOS; o != nil {
		v.StorageOS = &corev1.StorageOSVolumeSource{VolumeName: o.VolumeName, VolumeNamespace: o.VolumeNamespace}
	}
	return corev1.Volume{VolumeSource: v}
}

func localRef(r *corev1.SecretReference) *corev1.LocalObjectReference {
	if r == nil {
		return nil
	}
	return &corev1.LocalObjectReference{Name: r.Name}
}

func (s *podSpec) checkPersistentCSI(c *corev1.CSIPersistentVolumeSource, p *field.Path) {
	s.checkCSIDriver(p.Child("driver"), c.Driver)
	s.Text(p.Child("volumeHandle"), c.VolumeHandle)
	for name, ref := range map[string]*corev1.SecretReference{
		"controllerPublishSecretRef": c.ControllerPublishSecretRef,
		"nodePublishSecretRef":       c.NodePublishSecretRef,
		"controllerExpandSecretRef":  c.ControllerExpandSecretRef,
		"nodeExpandSecretRef":        c.NodeExpandSecretRef,
	} {
		if ref != nil {
			s.RequiredDNSLabel(p.Child(name, "namespace"), ref.Namespace)
			s.Text(p.Child(name, "name"), ref.Name)
		}
	}
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	now, was := v.Spec.PersistentVolumeSource.DeepCopy(), old.Spec.PersistentVolumeSource.DeepCopy()
	if now.CSI != nil && was.CSI != nil {
		now.CSI.ControllerExpandSecretRef, now.CSI.NodeExpandSecretRef = was.CSI.ControllerExpandSecretRef, was.CSI.NodeExpandSecretRef
	}
	if !apiequality.Semantic.DeepEqual(now, was) {
		e.Forbidden(fld.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation\n"+diff.Diff(*was, *now))
	}
	e.Add(apivalidation.ValidateImmutableField(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode")))
	if old.Spec.NodeAffinity != nil {
		e.Add(apivalidation.ValidateImmutableField(v.Spec.NodeAffinity, old.Spec.NodeAffinity, field.NewPath("nodeAffinity")))
	}
	if ptr.Deref(old.Spec.VolumeAttributesClassName, "") != "" && v.Spec.VolumeAttributesClassName == nil {
		e.Forbidden(fld.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return e.List()
}
