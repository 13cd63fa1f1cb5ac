package steps

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// image makes the container's image, and those that it mounts, present.
func (s *Steps) image(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (runtime.Image, error) {
	secrets, err := s.pullSecrets(ctx, pod)
	if err != nil {
		return runtime.Image{}, err
	}
	for _, v := range planImageVolumes(pod, c) {
		// What happens to a volume's image is told of the pod: others may mount it.
		if _, err := s.ensureImage(ctx, pod, c, "", v.Reference, v.PullPolicy, secrets); err != nil {
			return runtime.Image{}, err
		}
	}
	return s.ensureImage(ctx, pod, c, c.Name, c.Image, c.ImagePullPolicy, secrets)
}

// planImageVolumes gives the images that a container mounts, each once.
func planImageVolumes(pod *corev1.Pod, c *corev1.Container) []*corev1.ImageVolumeSource {
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = true
	}
	var images []*corev1.ImageVolumeSource
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Image != nil && mounted[v.Name] {
			images = append(images, v.Image)
		}
	}
	return images
}

// ensureImage makes one image present; about is the container that its events
// are about, empty for the pod.
func (s *Steps) ensureImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container, about, image string, policy corev1.PullPolicy, secrets []*corev1.Secret) (runtime.Image, error) {
	img, err := s.cfg.Images.Ensure(ctx, image, policy, secrets, func(eventType, reason, message string) {
		s.cfg.Record(pod, about, eventType, reason, message)
	})
	var failed *podworker.Error
	if errors.As(err, &failed) {
		s.warn(pod, c.Name, "Failed", "Error: "+failed.Reason)
	}
	return img, err
}

func (s *Steps) pullSecrets(ctx context.Context, pod *corev1.Pod) ([]*corev1.Secret, error) {
	if s.cfg.Objects == nil {
		return nil, nil
	}
	var secrets []*corev1.Secret
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret, err := s.cfg.Objects.Secret(ctx, pod.Namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			s.warn(pod, "", "FailedToRetrieveImagePullSecret",
				fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name))
			continue
		}
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}
