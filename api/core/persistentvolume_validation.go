package core

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
	s.checkPersistentSource(spec, v.Name, fld)
	if spec.StorageClassName != "" {
		s.Name(fld.Child("storageClassName"), spec.StorageClassName, apivalidation.NameIsDNSSubdomain)
	}
	if spec.VolumeMode != nil {
		validate.Enum(&s.Errors, fld.Child("volumeMode"), *spec.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	s.checkAttributesClass(spec, fld)
	if _, old := v.Annotations[corev1.MountOptionAnnotation]; old && !mountable(spec) {
		s.Forbidden(field.NewPath("metadata", "annotations", corev1.MountOptionAnnotation), "may not specify mount options for this volume type")
	}
	return s.List()
}

// ValidateInlineVolume checks a volume that a VolumeAttachment has itself: one
// of a CSI driver, and nothing of what is between volumes and claims.
func ValidateInlineVolume(spec *corev1.PersistentVolumeSpec, fld *field.Path) field.ErrorList {
	const why = "may not be specified in the context of inline volumes"
	s := &podSpec{spec: &corev1.PodSpec{}}
	if spec.ClaimRef != nil {
		s.Forbidden(fld.Child("claimRef"), why)
	}
	if len(spec.Capacity) != 0 {
		s.Forbidden(fld.Child("capacity"), why)
	}
	if spec.CSI == nil {
		s.Required(fld.Child("csi"), "has to be specified in the context of inline volumes")
	}
	checkVolumeAccess(&s.Errors, spec.AccessModes, fld.Child("accessModes"))
	if p := spec.PersistentVolumeReclaimPolicy; p != "" && p != corev1.PersistentVolumeReclaimRetain {
		s.Forbidden(fld.Child("persistentVolumeReclaimPolicy"), "may only be Retain in the context of inline volumes")
	}
	if spec.NodeAffinity != nil {
		s.Forbidden(fld.Child("nodeAffinity"), why)
	}
	s.checkPersistentSource(spec, "", fld)
	if spec.StorageClassName != "" {
		s.Forbidden(fld.Child("storageClassName"), why)
	}
	if m := spec.VolumeMode; m != nil && *m != corev1.PersistentVolumeFilesystem {
		s.Forbidden(fld.Child("volumeMode"), "may not specify volumeMode other than Filesystem in the context of inline volumes")
	}
	s.checkAttributesClass(spec, fld)
	return s.List()
}

func (s *podSpec) checkAttributesClass(spec *corev1.PersistentVolumeSpec, fld *field.Path) {
	class := spec.VolumeAttributesClassName
	if class == nil {
		return
	}
	if *class == "" {
		s.Required(fld.Child("volumeAttributesClassName"), "an empty string is disallowed")
	} else {
		s.Name(fld.Child("volumeAttributesClassName"), *class, apivalidation.NameIsDNSSubdomain)
	}
	if spec.CSI == nil {
		s.Required(fld.Child("csi"), "has to be specified when using volumeAttributesClassName")
	}
}

// mountable says whether mount options can be given to a type of volume by the
// annotation that was there before the field.
func mountable(s *corev1.PersistentVolumeSpec) bool {
	return s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil || s.NFS != nil || s.RBD != nil ||
		s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil ||
		s.VsphereVolume != nil || s.AzureDisk != nil || s.PhotonPersistentDisk != nil
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
func (s *podSpec) checkPersistentSource(spec *corev1.PersistentVolumeSpec, name string, fld *field.Path) {
	same := asPodVolume(&spec.PersistentVolumeSource)
	types := slices.Concat(
		[]volumeType{{"hostPath", spec.HostPath != nil, func(p *field.Path) { s.checkHostPath(spec.HostPath, p) }}},
		[]volumeType{{"iscsi", spec.ISCSI != nil, func(*field.Path) {}}},
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
			s.checkPersistentOnly(spec, t.name, name, fld.Child(t.name))
		}
	}
	if n == 0 {
		s.Required(fld, "must specify a volume type")
	}
	if spec.HostPath != nil && path.Clean(spec.HostPath.Path) == "/" &&
		spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		s.Forbidden(fld.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
}

// checkPersistentOnly checks what a pod's volume of the same type has not.
func (s *podSpec) checkPersistentOnly(spec *corev1.PersistentVolumeSpec, typ, name string, p *field.Path) {
	switch typ {
	case "glusterfs":
		if ns := spec.Glusterfs.EndpointsNamespace; ns != nil && *ns == "" {
			s.Invalid(p.Child("endpointsNamespace"), "", "if the endpointnamespace is set, it must be a valid namespace name")
		} else if ns != nil {
			s.Name(p.Child("endpointsNamespace"), *ns, apivalidation.ValidateNamespaceName)
		}
	case "cinder":
		if r := spec.Cinder.SecretRef; r != nil {
			s.Text(p.Child("secretRef", "namespace"), r.Namespace)
		}
	case "storageos":
		if r := spec.StorageOS.SecretRef; r != nil {
			s.Text(p.Child("secretRef", "name"), r.Name)
			s.Text(p.Child("secretRef", "namespace"), r.Namespace)
		}
	case "azureFile":
		if ns := spec.AzureFile.SecretNamespace; ns != nil {
			s.Text(p.Child("secretNamespace"), *ns)
		}
	case "iscsi":
		s.checkPersistentISCSI(spec.ISCSI, name, p)
	}
}

func (s *podSpec) checkPersistentISCSI(i *corev1.ISCSIPersistentVolumeSource, name string, p *field.Path) {
	const form = "must be valid format"
	s.Text(p.Child("targetPortal"), i.TargetPortal)
	if i.InitiatorName != nil && len(name+":"+i.TargetPortal) > maxISCSIName {
		s.Invalid(p.Child("targetportal"), i.TargetPortal,
			"Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
	}
	if i.IQN == "" {
		s.Required(p.Child("iqn"), "")
	} else {
		s.checkISCSIName(p.Child("iqn"), i.IQN, form)
	}
	s.Between(p.Child("lun"), int64(i.Lun), 0, 255)
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		s.Required(p.Child("secretRef"), "")
	}
	if i.SecretRef != nil {
		s.Text(p.Child("secretRef", "name"), i.SecretRef.Name)
	}
	if i.InitiatorName != nil {
		s.checkISCSIName(p.Child("initiatorname"), *i.InitiatorName, form)
	}
}

// newNodeLabels are the labels of nodes that replaced others.
var newNodeLabels = map[string]string{
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	corev1.LabelInstanceType:            corev1.LabelInstanceTypeStable,
	"beta.kubernetes.io/os":             corev1.LabelOSStable,
	"beta.kubernetes.io/arch":           corev1.LabelArchStable,
}

// renewed is the old affinity with those labels replaced that the new one has
// new names of.
func renewed(old, now *corev1.VolumeNodeAffinity) *corev1.VolumeNodeAffinity {
	out := old.DeepCopy()
	if out.Required == nil || now == nil || now.Required == nil {
		return out
	}
	for i, t := range out.Required.NodeSelectorTerms {
		for k := range t.MatchExpressions {
			if i >= len(now.Required.NodeSelectorTerms) || k >= len(now.Required.NodeSelectorTerms[i].MatchExpressions) {
				continue
			}
			e, to := &t.MatchExpressions[k], now.Required.NodeSelectorTerms[i].MatchExpressions[k].Key
			if e.Key != to && newNodeLabels[e.Key] == to {
				e.Key = to
			}
		}
	}
	return out
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
	for _, f := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", c.ControllerPublishSecretRef},
		{"controllerExpandSecretRef", c.ControllerExpandSecretRef},
		{"nodePublishSecretRef", c.NodePublishSecretRef},
		{"nodeExpandSecretRef", c.NodeExpandSecretRef},
	} {
		if f.ref == nil {
			continue
		}
		if at := p.Child(f.name, "name"); f.ref.Name == "" {
			s.Required(at, "")
		} else {
			s.DNSSubdomain(at, f.ref.Name)
		}
		s.RequiredDNSLabel(p.Child(f.name, "namespace"), f.ref.Namespace)
	}
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	now, was := v.Spec.PersistentVolumeSource.DeepCopy(), old.Spec.PersistentVolumeSource.DeepCopy()
	if now.CSI != nil && was.CSI != nil && was.CSI.ControllerExpandSecretRef == nil {
		now.CSI.ControllerExpandSecretRef = nil // it may come later
	}
	if !apiequality.Semantic.DeepEqual(now, was) {
		e.Forbidden(fld.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation\n"+diff.Diff(*was, *now))
	}
	e.Add(apivalidation.ValidateImmutableField(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode")))
	if old.Spec.NodeAffinity != nil {
		if !apiequality.Semantic.DeepEqual(v.Spec.NodeAffinity, renewed(old.Spec.NodeAffinity, v.Spec.NodeAffinity)) {
			e.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, apivalidation.FieldImmutableErrorMsg+", except for updating from beta label to GA")
		}
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		e.Forbidden(fld.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return e.List()
}
