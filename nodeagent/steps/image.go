package steps

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// image makes the container's image present.
func (s *Steps) image(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (runtime.Image, error) {
	var secrets []*corev1.Secret
	if s.cfg.Objects != nil {
		for _, ref := range pod.Spec.ImagePullSecrets {
			secret, err := s.cfg.Objects.Secret(ctx, pod.Namespace, ref.Name)
			if apierrors.IsNotFound(err) {
				s.warn(pod, "", "FailedToRetrieveImagePullSecret",
					fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name))
				continue
			}
			if err != nil {
				return runtime.Image{}, err
			}
			secrets = append(secrets, secret)
		}
	}
	return s.cfg.Images.Ensure(ctx, c, secrets, func(eventType, reason, message string) {
		s.cfg.Record(pod, c.Name, eventType, reason, message)
	})
}
