package core

import (
	"net"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// remoteVolumes are the types whose content is on other machines. Most are
// served by CSI drivers today or by nothing; the API still checks them.
func (s *podSpec) remoteVolumes(v *corev1.Volume, parent *field.Path) []volumeType {
	return slices.Concat(s.blockVolumes(v, parent), s.fileVolumes(v))
}

// blockVolumes are disks.
func (s *podSpec) blockVolumes(v *corev1.Volume, parent *field.Path) []volumeType {
	return []volumeType{
		{"gcePersistentDisk", v.GCEPersistentDisk != nil, func(*field.Path) {
			// The path is as Kubernetes writes it.
			p := parent.Child("persistentDisk")
			s.Text(p.Child("pdName"), v.GCEPersistentDisk.PDName)
			s.checkPartition(p, v.GCEPersistentDisk.Partition)
		}},
		{"awsElasticBlockStore", v.AWSElasticBlockStore != nil, func(p *field.Path) {
			s.Text(p.Child("volumeID"), v.AWSElasticBlockStore.VolumeID)
			s.checkPartition(p, v.AWSElasticBlockStore.Partition)
		}},
		{"iscsi", v.ISCSI != nil, func(p *field.Path) { s.checkISCSI(v.ISCSI, p) }},
		{"flocker", v.Flocker != nil, func(p *field.Path) { s.checkFlocker(v.Flocker, p) }},
		{"rbd", v.RBD != nil, func(p *field.Path) {
			s.someMonitors(p, v.RBD.CephMonitors)
			s.Text(p.Child("image"), v.RBD.RBDImage)
		}},
		{"cinder", v.Cinder != nil, func(p *field.Path) {
			s.Text(p.Child("volumeID"), v.Cinder.VolumeID)
			s.checkSecretRef(p, v.Cinder.SecretRef)
		}},
		{"fc", v.FC != nil, func(p *field.Path) { s.checkFC(v.FC, p) }},
		{"vsphereVolume", v.VsphereVolume != nil, func(p *field.Path) { s.Text(p.Child("volumePath"), v.VsphereVolume.VolumePath) }},
		{"photonPersistentDisk", v.PhotonPersistentDisk != nil, func(p *field.Path) { s.Text(p.Child("pdID"), v.PhotonPersistentDisk.PdID) }},
		{"portworxVolume", v.PortworxVolume != nil, func(p *field.Path) { s.Text(p.Child("volumeID"), v.PortworxVolume.VolumeID) }},
		{"azureDisk", v.AzureDisk != nil, func(p *field.Path) { s.checkAzureDisk(v.AzureDisk, p) }},
		{"storageos", v.StorageOS != nil, func(p *field.Path) {
			s.RequiredDNSLabel(p.Child("volumeName"), v.StorageOS.VolumeName)
			if v.StorageOS.VolumeNamespace != "" {
				s.DNSLabel(p.Child("volumeNamespace"), v.StorageOS.VolumeNamespace)
			}
			s.checkSecretRef(p, v.StorageOS.SecretRef)
		}},
		{"scaleIO", v.ScaleIO != nil, func(p *field.Path) {
			s.Text(p.Child("gateway"), v.ScaleIO.Gateway)
			s.Text(p.Child("system"), v.ScaleIO.System)
			s.Text(p.Child("volumeName"), v.ScaleIO.VolumeName)
		}},
	}
}

// fileVolumes are file systems.
func (s *podSpec) fileVolumes(v *corev1.Volume) []volumeType {
	return []volumeType{
		{"nfs", v.NFS != nil, func(p *field.Path) {
			s.Text(p.Child("server"), v.NFS.Server)
			s.Text(p.Child("path"), v.NFS.Path)
			if !isAbs(v.NFS.Path) {
				s.Invalid(p.Child("path"), v.NFS.Path, "must be an absolute path")
			}
		}},
		{"glusterfs", v.Glusterfs != nil, func(p *field.Path) {
			s.Text(p.Child("endpoints"), v.Glusterfs.EndpointsName)
			s.Text(p.Child("path"), v.Glusterfs.Path)
		}},
		{"cephfs", v.CephFS != nil, func(p *field.Path) { s.someMonitors(p, v.CephFS.Monitors) }},
		{"quobyte", v.Quobyte != nil, func(p *field.Path) { s.checkQuobyte(v.Quobyte, p) }},
		{"flexVolume", v.FlexVolume != nil, func(p *field.Path) { s.checkFlex(v.FlexVolume, p) }},
		{"azureFile", v.AzureFile != nil, func(p *field.Path) {
			s.Text(p.Child("secretName"), v.AzureFile.SecretName)
			s.Text(p.Child("shareName"), v.AzureFile.ShareName)
		}},
	}
}

func (s *podSpec) checkPartition(p *field.Path, n int32) {
	if n < 0 || n > 255 {
		// Zero is the whole disk, which the message does not tell.
		s.Invalid(p.Child("partition"), n, validation.InclusiveRangeError(1, 255))
	}
}

func (s *podSpec) someMonitors(p *field.Path, monitors []string) {
	if len(monitors) == 0 {
		s.Required(p.Child("monitors"), "")
	}
}

func (s *podSpec) checkSecretRef(p *field.Path, r *corev1.LocalObjectReference) {
	if r != nil {
		s.Text(p.Child("secretRef", "name"), r.Name)
	}
}

// maxISCSIName is what the initiator's tools allow for a name of volume and
// portal.
const maxISCSIName = 64

// iscsiNames are the three forms of names of RFC 3720, by what they begin with.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

func (s *podSpec) checkISCSI(i *corev1.ISCSIVolumeSource, p *field.Path) {
	s.Text(p.Child("targetPortal"), i.TargetPortal)
	if i.IQN == "" {
		s.Required(p.Child("iqn"), "")
	} else {
		s.checkISCSIName(p.Child("iqn"), i.IQN, iscsiForm)
	}
	s.Between(p.Child("lun"), int64(i.Lun), 0, 255)
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		s.Required(p.Child("secretRef"), "")
	}
	if i.InitiatorName != nil {
		s.checkISCSIName(p.Child("initiatorname"), *i.InitiatorName, iscsiForm)
	}
}

// iscsiForm says of a pod's volume what is wrong with a name.
const iscsiForm = "must be valid format starting with iqn, eui, or naa"

func (s *podSpec) checkISCSIName(p *field.Path, name, begin string) {
	form, known := iscsiNames[name[:min(3, len(name))]]
	switch {
	case !known:
		s.Invalid(p, name, begin)
	case !form.MatchString(name):
		s.Invalid(p, name, "must be valid format")
	}
}

func (s *podSpec) checkFlocker(f *corev1.FlockerVolumeSource, p *field.Path) {
	switch byName, byID := f.DatasetName != "", f.DatasetUUID != ""; {
	case !byName && !byID:
		s.Required(p, "one of datasetName and datasetUUID is required")
	case byName && byID:
		s.Invalid(p, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(f.DatasetName, "/") {
		s.Invalid(p.Child("datasetName"), f.DatasetName, "must not contain '/'")
	}
}

func (s *podSpec) checkFC(f *corev1.FCVolumeSource, p *field.Path) {
	wwns, wwids := len(f.TargetWWNs) > 0, len(f.WWIDs) > 0
	if !wwns && !wwids {
		s.Required(p.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")
	}
	if wwns && wwids {
		s.Invalid(p.Child("targetWWNs"), f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if !wwns {
		return
	}
	if f.Lun == nil {
		s.Required(p.Child("lun"), "lun is required if targetWWNs is specified")
		return
	}
	s.Between(p.Child("lun"), int64(*f.Lun), 0, 255)
}

func (s *podSpec) checkQuobyte(q *corev1.QuobyteVolumeSource, p *field.Path) {
	const form = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case q.Registry == "":
		s.Required(p.Child("registry"), form)
	case len(q.Tenant) >= 65:
		s.Required(p.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
	default:
		for pair := range strings.SplitSeq(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				s.Invalid(p.Child("registry"), q.Registry, form)
			}
		}
	}
	s.Text(p.Child("volume"), q.Volume)
}

func (s *podSpec) checkFlex(f *corev1.FlexVolumeSource, p *field.Path) {
	s.Text(p.Child("driver"), f.Driver)
	for _, key := range validate.Keys(f.Options) {
		domain, _, found := strings.Cut(key, "/")
		if !found {
			domain = key
		}
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			s.Invalid(p.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

// What an Azure disk's URI looks like, by the kind of disk.
const (
	azureManagedURI = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	azureBlobURI    = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
)

func (s *podSpec) checkAzureDisk(d *corev1.AzureDiskVolumeSource, p *field.Path) {
	s.Text(p.Child("diskName"), d.DiskName)
	s.Text(p.Child("diskURI"), d.DataDiskURI)
	if m := d.CachingMode; m != nil {
		validate.Enum(&s.Errors, p.Child("cachingMode"), *m,
			corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if d.Kind == nil {
		return
	}
	validate.Enum(&s.Errors, p.Child("kind"), *d.Kind,
		corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)
	begins, form := "https://", azureBlobURI
	if *d.Kind == corev1.AzureManagedDisk {
		begins, form = "/subscriptions/", azureManagedURI
	}
	if !strings.HasPrefix(d.DataDiskURI, begins) {
		s.Add(field.ErrorList{field.NotSupported(p.Child("diskURI"), d.DataDiskURI, []string{form})})
	}
}
