package core

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// checkMounts checks where a container has the pod's volumes as directories.
func (s *podSpec) checkMounts(c *corev1.Container, fld *field.Path) {
	paths := sets.New[string]()
	for i, m := range c.VolumeMounts {
		p := fld.Index(i)
		s.Text(p.Child("name"), m.Name)
		if s.volumes[m.Name] == nil {
			s.NotFound(p.Child("name"), m.Name)
		}
		s.Text(p.Child("mountPath"), m.MountPath)
		if paths.Has(m.MountPath) {
			s.Invalid(p.Child("mountPath"), m.MountPath, "must be unique")
		}
		paths.Insert(m.MountPath)
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			s.Invalid(p.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == m.MountPath }) {
			s.Invalid(p.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		s.checkSubPath(m, p, fld)
		s.checkPropagation(c, m, fld.Child("mountPropagation"))
		s.checkRecursiveReadOnly(m, fld.Child("recursiveReadOnly"))
	}
}

// checkSubPath checks which part of a volume is mounted. Kubernetes names the
// list rather than the mount in two of the paths.
func (s *podSpec) checkSubPath(m corev1.VolumeMount, p, list *field.Path) {
	if m.SubPath != "" {
		s.checkRelativePath(list.Child("subPath"), m.SubPath)
	}
	if m.SubPathExpr == "" {
		return
	}
	if m.SubPath != "" {
		s.Invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
	}
	s.checkRelativePath(list.Child("subPathExpr"), m.SubPathExpr)
}

// checkPropagation checks whether mounts made later show through. Only
// privileged containers may show theirs to the host.
func (s *podSpec) checkPropagation(c *corev1.Container, m corev1.VolumeMount, p *field.Path) {
	if m.MountPropagation == nil {
		return
	}
	validate.Enum(&s.Errors, p, *m.MountPropagation,
		corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	if *m.MountPropagation == corev1.MountPropagationBidirectional && !privileged {
		s.Forbidden(p, "Bidirectional mount propagation is available only to privileged containers")
	}
}

func (s *podSpec) checkRecursiveReadOnly(m corev1.VolumeMount, p *field.Path) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return
	}
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !m.ReadOnly {
			s.Forbidden(p, "may only be specified when readOnly is true")
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			s.Forbidden(p, "may only be specified when mountPropagation is None or not specified")
		}
	default:
		validate.Enum(&s.Errors, p, *m.RecursiveReadOnly,
			corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	}
}

// checkDevices checks where a container has the pod's volumes as block devices.
func (s *podSpec) checkDevices(c *corev1.Container, fld *field.Path) {
	names, paths := sets.New[string](), sets.New[string]()
	for i, d := range c.VolumeDevices {
		p := fld.Index(i)
		s.Text(p.Child("name"), d.Name)
		if names.Has(d.Name) {
			s.Invalid(p.Child("name"), d.Name, "must be unique")
		}
		switch v := s.volumes[d.Name]; {
		case v == nil:
			s.NotFound(p.Child("name"), d.Name)
		case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
			s.Invalid(p.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		s.Text(p.Child("devicePath"), d.DevicePath)
		if paths.Has(d.DevicePath) {
			s.Invalid(p.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if hasBackstep(d.DevicePath) {
			s.Invalid(p.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths.Insert(d.DevicePath)
		}
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == d.Name }) {
			s.Invalid(p.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == d.DevicePath }) {
			s.Invalid(p.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names.Insert(d.Name)
		}
	}
}

func hasBackstep(of string) bool { return slices.Contains(strings.Split(of, "/"), "..") }

// checkNoBacksteps reports a path that goes up.
func (s *podSpec) checkNoBacksteps(p *field.Path, value string) {
	if hasBackstep(value) {
		s.Invalid(p, value, "must not contain '..'")
	}
}

// checkRelativePath reports a path that leaves the directory it starts in.
func (s *podSpec) checkRelativePath(p *field.Path, value string) {
	if path.IsAbs(value) {
		s.Invalid(p, value, "must be a relative path")
	}
	s.checkNoBacksteps(p, value)
}

// checkFilePath is checkRelativePath for files that the agent writes, which
// keeps names that begin with '..' to itself.
func (s *podSpec) checkFilePath(p *field.Path, value string) {
	s.checkRelativePath(p, value)
	if strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../") {
		s.Invalid(p, value, "must not start with '..'")
	}
}
