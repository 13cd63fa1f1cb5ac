package core

import corev1 "k8s.io/api/core/v1"

// DropDisabledPodFields clears fields of features that are not switched on in
// Kubernetes 1.37, as its API server does without a word. It is for
// PrepareCreate and PrepareUpdate of every kind with a pod template.
func DropDisabledPodFields(s *corev1.PodSpec) {
	// GenericWorkload and EvictionRequestAPI.
	s.SchedulingGroup = nil
	s.EvictionResponders = nil
	for i := range s.Volumes {
		dropVolumeFields(&s.Volumes[i])
	}
	for c := range allContainers(s) {
		dropContainerFields(c)
	}
}

// dropContainerFields clears VolumeBindMountOptions, H2CContainerProbe,
// GRPCContainerProbeTLS and ContainerStopSignals.
func dropContainerFields(c *corev1.Container) {
	for i := range c.VolumeMounts {
		c.VolumeMounts[i].BindMountOptions = nil
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.HTTPGet != nil {
			p.HTTPGet.Protocol = nil
		}
		if p != nil && p.GRPC != nil {
			p.GRPC.Mode = nil
		}
	}
	if l := c.Lifecycle; l != nil {
		if l.StopSignal != nil && l.PostStart == nil && l.PreStop == nil {
			c.Lifecycle = nil
		}
		l.StopSignal = nil
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil && h.HTTPGet != nil {
				h.HTTPGet.Protocol = nil
			}
		}
	}
}

// dropVolumeFields clears EmptyDirVolumeMode and AtomicWriteVolumeUserFields.
func dropVolumeFields(v *corev1.Volume) {
	keys := func(items []corev1.KeyToPath) {
		for i := range items {
			items[i].User = nil
		}
	}
	files := func(items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			items[i].User = nil
		}
	}
	if s := v.EmptyDir; s != nil {
		s.Mode = nil
	}
	if s := v.Secret; s != nil {
		s.DefaultUser = nil
		keys(s.Items)
	}
	if s := v.ConfigMap; s != nil {
		s.DefaultUser = nil
		keys(s.Items)
	}
	if s := v.DownwardAPI; s != nil {
		s.DefaultUser = nil
		files(s.Items)
	}
	if v.Projected == nil {
		return
	}
	v.Projected.DefaultUser = nil
	for _, s := range v.Projected.Sources {
		if s.Secret != nil {
			keys(s.Secret.Items)
		}
		if s.ConfigMap != nil {
			keys(s.ConfigMap.Items)
		}
		if s.DownwardAPI != nil {
			files(s.DownwardAPI.Items)
		}
		if s.ServiceAccountToken != nil {
			s.ServiceAccountToken.User = nil
		}
		if s.ClusterTrustBundle != nil {
			s.ClusterTrustBundle.User = nil
		}
		if s.PodCertificate != nil {
			s.PodCertificate.User = nil
		}
	}
}
