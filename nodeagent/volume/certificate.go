package volume

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// issueWait is how long a volume waits for its certificates before it says that
// they are missing: most signers answer at once.
const issueWait = 2 * time.Second

// awaitCertificates gives the signers of a volume's certificates a moment.
func (v *Volumes) awaitCertificates(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) {
	if v.certificates == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, issueWait)
	defer cancel()
	v.certificates.Await(ctx, pod, volume)
}

// certificateFiles gives the files of a pod's certificate and its key.
func (v *Volumes) certificateFiles(pod *corev1.Pod, volume string, source int, s *corev1.PodCertificateProjection, mode int32) (files, error) {
	if v.certificates == nil {
		return nil, errors.New("this node gets no certificates for pods")
	}
	key, chain, err := v.certificates.Get(pod, volume, source)
	if err != nil {
		return nil, err
	}
	all := files{}
	for path, data := range map[string][]byte{
		s.CredentialBundlePath: slices.Concat(key, chain), s.KeyPath: key, s.CertificateChainPath: chain,
	} {
		if path != "" {
			all[path] = privateFile(pod, data, mode)
		}
	}
	return all, nil
}

// certified is told of pods whose certificates have changed, or were refused.
func (v *Volumes) certified(uid types.UID) {
	v.plan(uid, v.cfg.Clock.Now())
	if v.cfg.Changed != nil {
		v.cfg.Changed(uid)
	}
}

func (v *Volumes) event(pod *corev1.Pod, reason, message string) {
	if v.cfg.Event != nil {
		v.cfg.Event(pod, reason, message)
	}
}
