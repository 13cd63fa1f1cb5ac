package core

import (
	"cmp"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// checkVolumes checks the pod's volumes and keeps those that containers may
// refer to.
func (s *podSpec) checkVolumes(fld *field.Path) {
	s.volumes = map[string]*corev1.VolumeSource{}
	created := s.createdClaims()
	for i := range s.spec.Volumes {
		v, p := &s.spec.Volumes[i], fld.Index(i)
		before := s.Len()
		s.checkVolume(v, p)
		s.RequiredDNSLabel(p.Child("name"), v.Name)
		if s.volumes[v.Name] != nil {
			s.Duplicate(p.Child("name"), v.Name)
		}
		if s.Len() == before {
			s.volumes[v.Name] = &v.VolumeSource
		}
		if c := v.PersistentVolumeClaim; c != nil && created.Has(c.ClaimName) {
			s.Invalid(p.Child("persistentVolumeClaim", "claimName"), c.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume")
		}
	}
}

// createdClaims are the names of the claims that the pod's ephemeral volumes
// become. They are known once the pod has a name.
func (s *podSpec) createdClaims() sets.Set[string] {
	names := sets.New[string]()
	if !s.isPod() || s.meta.Name == "" {
		return names
	}
	for _, v := range s.spec.Volumes {
		if v.Ephemeral != nil {
			names.Insert(s.meta.Name + "-" + v.Name)
		}
	}
	return names
}

// volumeType is one way that a volume can be made, by the name of its field.
type volumeType struct {
	name  string
	set   bool
	check func(p *field.Path)
}

// secondVolume are the names that Kubernetes spells otherwise when the volume
// is of another type already.
var secondVolume = map[string]string{"cephfs": "cephFS", "downwardAPI": "downwarAPI"}

// checkVolume checks that a volume is of one type and that this one is right.
func (s *podSpec) checkVolume(v *corev1.Volume, p *field.Path) {
	if d := v.EmptyDir; d != nil {
		s.checkEmptyDir(d, p.Child("emptyDir"))
	}
	n := 0
	for _, t := range slices.Concat(s.localVolumes(v, p), s.remoteVolumes(v, p)) {
		if !t.set {
			continue
		}
		if n++; n > 1 {
			s.Forbidden(p.Child(cmp.Or(secondVolume[t.name], t.name)), "may not specify more than 1 volume type")
			continue
		}
		if t.check != nil {
			t.check(p.Child(t.name))
		}
	}
	if n == 0 {
		s.Required(p, "must specify a volume type")
	}
	if i := v.ISCSI; i != nil && i.InitiatorName != nil && len(v.Name+":"+i.TargetPortal) > maxISCSIName {
		s.Invalid(p.Child("name"), v.Name,
			"Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
	}
}

func (s *podSpec) checkEmptyDir(d *corev1.EmptyDirVolumeSource, p *field.Path) {
	if d.SizeLimit != nil && d.SizeLimit.Sign() < 0 {
		s.Forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
	}
	if m := d.Mode; m != nil && (*m < 0 || *m > 0o1777) {
		s.Invalid(p.Child("mode"), *m, "must be a number between 0 and 01777 (octal), both inclusive")
	}
}

// localVolumes are the types whose content is on the node or in the API, in
// the order in which Kubernetes looks at them. emptyDir is looked at first, so
// that any other type beside it is the one too many.
func (s *podSpec) localVolumes(v *corev1.Volume, parent *field.Path) []volumeType {
	return []volumeType{
		{"emptyDir", v.EmptyDir != nil, nil},
		{"hostPath", v.HostPath != nil, func(p *field.Path) { s.checkHostPath(v.HostPath, p) }},
		{"gitRepo", v.GitRepo != nil, func(p *field.Path) {
			s.Text(p.Child("repository"), v.GitRepo.Repository)
			s.checkRelativePath(p.Child("directory"), v.GitRepo.Directory)
		}},
		{"secret", v.Secret != nil, func(p *field.Path) {
			s.Text(p.Child("secretName"), v.Secret.SecretName)
			s.FileMode(p.Child("defaultMode"), v.Secret.DefaultMode)
			s.checkItems(v.Secret.Items, p.Child("items"))
		}},
		{"persistentVolumeClaim", v.PersistentVolumeClaim != nil, func(p *field.Path) {
			s.Text(p.Child("claimName"), v.PersistentVolumeClaim.ClaimName)
		}},
		{"downwardAPI", v.DownwardAPI != nil, func(p *field.Path) {
			s.FileMode(p.Child("defaultMode"), v.DownwardAPI.DefaultMode)
			for i := range v.DownwardAPI.Items {
				s.checkFieldFile(&v.DownwardAPI.Items[i], p)
			}
		}},
		{"configMap", v.ConfigMap != nil, func(p *field.Path) {
			s.Text(p.Child("name"), v.ConfigMap.Name)
			s.FileMode(p.Child("defaultMode"), v.ConfigMap.DefaultMode)
			s.checkItems(v.ConfigMap.Items, p.Child("items"))
		}},
		{"projected", v.Projected != nil, func(p *field.Path) { s.checkProjected(v.Projected, p) }},
		{"csi", v.CSI != nil, func(p *field.Path) { s.checkCSI(v.CSI, p) }},
		{"ephemeral", v.Ephemeral != nil, func(p *field.Path) { s.checkEphemeralVolume(v, p, parent) }},
		{"image", v.Image != nil, func(p *field.Path) {
			s.Text(p.Child("reference"), v.Image.Reference)
			s.checkPullPolicy(p.Child("pullPolicy"), v.Image.PullPolicy)
		}},
	}
}

func (s *podSpec) checkHostPath(h *corev1.HostPathVolumeSource, p *field.Path) {
	if h.Path == "" {
		s.Required(p.Child("path"), "")
		return
	}
	s.checkNoBacksteps(p.Child("path"), h.Path)
	if h.Type != nil {
		validate.Enum(&s.Errors, p.Child("type"), *h.Type,
			corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
	}
}

// checkItems checks which keys become which files.
func (s *podSpec) checkItems(items []corev1.KeyToPath, fld *field.Path) {
	for i, item := range items {
		s.checkItem(item, fld.Index(i))
	}
}

func (s *podSpec) checkItem(item corev1.KeyToPath, p *field.Path) {
	s.Text(p.Child("key"), item.Key)
	s.Text(p.Child("path"), item.Path)
	s.checkFilePath(p.Child("path"), item.Path)
	s.FileMode(p.Child("mode"), item.Mode)
}

// checkFieldFile checks a file that shows a field of the pod or a resource of a
// container. Kubernetes names the volume in the path, not the file.
func (s *podSpec) checkFieldFile(f *corev1.DownwardAPIVolumeFile, p *field.Path) {
	s.Text(p.Child("path"), f.Path)
	s.checkFilePath(p.Child("path"), f.Path)
	switch {
	case f.FieldRef != nil:
		s.checkFieldRef(f.FieldRef, fileFields, p.Child("fieldRef"))
		if f.ResourceFieldRef != nil {
			s.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case f.ResourceFieldRef != nil:
		s.checkResourceRef(f.ResourceFieldRef, p.Child("resourceFieldRef"), true)
	default:
		s.Required(p, "one of fieldRef and resourceFieldRef is required")
	}
	s.FileMode(p.Child("mode"), f.Mode)
}

func (s *podSpec) checkCSI(c *corev1.CSIVolumeSource, p *field.Path) {
	s.checkCSIDriver(p.Child("driver"), c.Driver)
	switch r := c.NodePublishSecretRef; {
	case r == nil:
	case r.Name == "":
		s.Required(p.Child("nodePublishSecretRef", "name"), "")
	default:
		s.Name(p.Child("name"), r.Name, apivalidation.NameIsDNSSubdomain)
	}
}

// maxCSIDriver is the length of driver names that the CSI specification allows.
const maxCSIDriver = 63

func (s *podSpec) checkCSIDriver(p *field.Path, name string) {
	if name == "" {
		s.Required(p, "")
		return
	}
	if len(name) > maxCSIDriver {
		s.TooLong(p, maxCSIDriver)
	}
	// Drivers may have capitals in their names.
	s.Messages(p, name, apivalidation.NameIsDNSSubdomain(strings.ToLower(name), false))
}

// checkEphemeralVolume checks a volume that a claim is made for. The claim's
// name is that of pod and volume, which can be too long together.
func (s *podSpec) checkEphemeralVolume(v *corev1.Volume, p, parent *field.Path) {
	t, at := v.Ephemeral.VolumeClaimTemplate, p.Child("volumeClaimTemplate")
	if t == nil {
		s.Required(at, "")
	} else {
		s.TemplateMeta(at.Child("metadata"), &t.ObjectMeta)
		s.Add(ValidatePersistentVolumeClaimSpec(&t.Spec, at.Child("spec")))
	}
	if s.isPod() && s.meta.Name != "" && v.Name != "" {
		claim := s.meta.Name + "-" + v.Name
		for _, m := range apivalidation.NameIsDNSSubdomain(claim, false) {
			s.Invalidf(parent.Child("name"), v.Name, "PVC name %q: %v", claim, m)
		}
	}
}

// isAbs is path.IsAbs: paths of volumes are those of the node, not of the
// machine that the server runs on.
func isAbs(of string) bool { return path.IsAbs(of) }
