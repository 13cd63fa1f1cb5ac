package image

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Store is the part of runtime.Runtime that pulling needs.
type Store interface {
	PullImage(ctx context.Context, ref string, auth []runtime.Credentials) (runtime.Image, error)
	ImageByRef(ctx context.Context, ref string) (runtime.Image, error)
}

// Puller pulls the images of one node, one at a time, as the kubelet does by
// default: the disk and the link are shared anyway.
type Puller struct {
	store Store
	clock clock.PassiveClock
	slot  chan struct{}
}

// NewPuller makes a puller.
func NewPuller(store Store, clk clock.PassiveClock) *Puller {
	return &Puller{store: store, clock: clk, slot: make(chan struct{}, 1)}
}

// Event is sent while an image is got.
type Event func(eventType, reason, message string)

// Ensure gives an image of a container or a volume, pulling it where the policy
// says so. The error is a *podworker.Error with the reason of the container's
// waiting state.
func (p *Puller) Ensure(ctx context.Context, image string, policy corev1.PullPolicy, secrets []*corev1.Secret, event Event) (runtime.Image, error) {
	if _, err := reference.ParseDockerRef(image); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", image, image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, failure(image, podworker.InvalidImageName, message, err)
	}
	img, err := p.store.ImageByRef(ctx, image)
	present := err == nil
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		message := fmt.Sprintf("Failed to inspect image %q: %v", image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, failure(image, "ImageInspectError", message, err)
	}
	if present && policy != corev1.PullAlways {
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", image))
		return img, nil
	}
	if policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
		event(corev1.EventTypeWarning, podworker.ErrImageNeverPull, message)
		return runtime.Image{}, failure(image, podworker.ErrImageNeverPull, message, err)
	}
	return p.pull(ctx, image, secrets, event)
}

func (p *Puller) pull(ctx context.Context, image string, secrets []*corev1.Secret, event Event) (runtime.Image, error) {
	auth, err := Credentials(image, secrets)
	if err != nil {
		return runtime.Image{}, failure(image, podworker.ErrImagePull, err.Error(), err)
	}
	event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", image))
	began := p.clock.Now()
	select {
	case p.slot <- struct{}{}:
	case <-ctx.Done():
		return runtime.Image{}, ctx.Err()
	}
	defer func() { <-p.slot }()
	pulling := p.clock.Now()
	img, err := p.store.PullImage(ctx, image, auth)
	if err != nil {
		if ctx.Err() != nil {
			return runtime.Image{}, ctx.Err()
		}
		event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", image, err))
		return runtime.Image{}, failure(image, podworker.ErrImagePull, err.Error(), err)
	}
	now := p.clock.Now()
	event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		image, now.Sub(pulling).Truncate(time.Millisecond), now.Sub(began).Truncate(time.Millisecond), img.Size))
	return img, nil
}

func failure(image, reason, message string, err error) error {
	return &podworker.Error{Reason: reason, Message: message, Image: image, Err: err}
}
