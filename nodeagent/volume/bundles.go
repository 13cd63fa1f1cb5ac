package volume

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// bundlePeriod is how often trust bundles are read again for pods that run: few
// pods have any, and none is in a hurry to trust more or fewer CAs.
const bundlePeriod = time.Minute

// trustAnchors gives the certificates of the bundles that a projection selects.
func (v *Volumes) trustAnchors(ctx context.Context, s *corev1.ClusterTrustBundleProjection) ([]byte, error) {
	if v.client == nil {
		return nil, errors.New("this node has no client")
	}
	bundles := v.client.CertificatesV1().ClusterTrustBundles()
	switch {
	case s.Name != nil:
		bundle, err := bundles.Get(ctx, *s.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) && isTrue(s.Optional) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("while getting ClusterTrustBundle: %w", err)
		}
		return anchors([]certificatesv1.ClusterTrustBundle{*bundle}), nil

	case s.SignerName != nil:
		// No selector selects nothing, an empty one everything.
		selector, err := metav1.LabelSelectorAsSelector(s.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("while parsing label selector: %w", err)
		}
		list := &certificatesv1.ClusterTrustBundleList{}
		if s.LabelSelector != nil {
			list, err = bundles.List(ctx, metav1.ListOptions{
				LabelSelector: selector.String(), FieldSelector: fields.OneTermEqualSelector("spec.signerName", *s.SignerName).String(),
			})
			if err != nil {
				return nil, fmt.Errorf("while listing ClusterTrustBundles: %w", err)
			}
		}
		if len(list.Items) == 0 && !isTrue(s.Optional) {
			return nil, errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
		}
		return anchors(list.Items), nil
	}
	return nil, errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
}

// anchors gives the certificates of bundles, each once, without what stands
// beside them, and always in one order: a file that says the same is not
// written again.
func anchors(bundles []certificatesv1.ClusterTrustBundle) []byte {
	var certificates [][]byte
	for i := range bundles {
		rest := []byte(bundles[i].Spec.TrustBundle)
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			certificates = append(certificates, block.Bytes)
		}
	}
	slices.SortFunc(certificates, bytes.Compare)
	var out []byte
	for _, c := range slices.CompactFunc(certificates, bytes.Equal) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return out
}

// nextBundles is when the trust bundles of a pod are to be read again, zero if
// it has none.
func (v *Volumes) nextBundles(pod *corev1.Pod) time.Time {
	for i := range pod.Spec.Volumes {
		p := pod.Spec.Volumes[i].Projected
		if p != nil && slices.ContainsFunc(p.Sources, func(s corev1.VolumeProjection) bool { return s.ClusterTrustBundle != nil }) {
			return v.cfg.Clock.Now().Add(bundlePeriod)
		}
	}
	return time.Time{}
}
