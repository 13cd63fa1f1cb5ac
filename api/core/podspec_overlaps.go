package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// file is a file that a volume puts somewhere, and what it comes from when a
// volume has several sources.
type file struct{ path, source string }

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// hides says whether two files cannot be there both.
func (f file) hides(other file) bool {
	a, b := f.path+"/", other.path+"/"
	return f.path != "" && other.path != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// overlaps warns of files of one volume that hide each other.
func (w *warnings) overlaps() {
	for _, v := range w.spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			w.overlap(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keys(v.ConfigMap.Items, ""))
		case v.Secret != nil:
			w.overlap(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keys(v.Secret.Items, ""))
		case v.DownwardAPI != nil:
			w.overlap(v.Name, "DownwardAPI", downward(v.DownwardAPI.Items, ""))
		case v.Projected != nil:
			var all []file
			for i := range v.Projected.Sources {
				if v.Projected.Sources[i] == (corev1.VolumeProjection{}) {
					w.list = append(w.list, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				}
				all = append(all, projected(&v.Projected.Sources[i])...)
			}
			w.overlap(v.Name, "Projected", all)
		}
	}
}

func (w *warnings) overlap(volume, from string, files []file) {
	for i := range files {
		files[i].path = strings.TrimRight(files[i].path, "/")
		for _, other := range files[:i] {
			if files[i].hides(other) {
				w.list = append(w.list, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, from, files[i], other))
			}
		}
	}
}

func keys(items []corev1.KeyToPath, source string) []file {
	out := make([]file, len(items))
	for i, item := range items {
		out[i] = file{item.Path, source}
	}
	return out
}

func downward(items []corev1.DownwardAPIVolumeFile, source string) []file {
	out := make([]file, len(items))
	for i, item := range items {
		out[i] = file{item.Path, source}
	}
	return out
}

// projected are the files of one source. Those without a path are none.
func projected(s *corev1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return keys(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return keys(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return downward(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := ptr.Deref(s.ClusterTrustBundle.Name, ptr.Deref(s.ClusterTrustBundle.SignerName, ""))
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	case s.PodCertificate != nil:
		c := s.PodCertificate
		return []file{
			{c.CertificateChainPath, "PodCertificate chain"}, {c.KeyPath, "PodCertificate key"}, {c.CredentialBundlePath, "PodCertificate credential bundle"},
		}
	}
	return nil
}
