package image_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/nodeagent/image"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// store has the images of a test and can pull some.
type store struct {
	present  map[string]bool
	registry map[string]bool
	auth     []runtime.Credentials // of the last pull
}

func (s *store) PullImage(_ context.Context, ref string, auth []runtime.Credentials) (runtime.Image, error) {
	s.auth = auth
	if !s.registry[ref] {
		return runtime.Image{}, errors.New("no such host")
	}
	return runtime.Image{ID: ref, Size: 7}, nil
}

func (s *store) ImageByRef(_ context.Context, ref string) (runtime.Image, error) {
	if ref == "broken" {
		return runtime.Image{}, errors.New("disk is gone")
	}
	if !s.present[ref] {
		return runtime.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	return runtime.Image{ID: ref}, nil
}

func TestEnsure(t *testing.T) {
	for _, tt := range []struct {
		name, image string
		policy      corev1.PullPolicy
		reason      string // of the error
		message     string
		events      []string
	}{
		{
			"an image that is there is taken", "here", corev1.PullIfNotPresent, "", "",
			[]string{`Normal Pulled Container image "here" already present on machine and can be accessed by the pod`},
		},
		{
			"an image that is always pulled is", "both", corev1.PullAlways, "", "",
			[]string{`Normal Pulling Pulling image "both"`, `Normal Pulled Successfully pulled image "both" in 0s (0s including waiting). Image size: 7 bytes.`},
		},
		{
			"an image that is not there is pulled", "there", "", "", "",
			[]string{`Normal Pulling Pulling image "there"`, `Normal Pulled Successfully pulled image "there" in 0s (0s including waiting). Image size: 7 bytes.`},
		},
		{
			"an image that is nowhere fails", "nowhere", corev1.PullIfNotPresent, podworker.ErrImagePull, "no such host",
			[]string{`Normal Pulling Pulling image "nowhere"`, `Warning Failed Failed to pull image "nowhere": no such host`},
		},
		{
			"an image that may not be pulled fails", "there", corev1.PullNever, podworker.ErrImageNeverPull,
			`Container image "there" is not present with pull policy of Never`,
			[]string{`Warning ErrImageNeverPull Container image "there" is not present with pull policy of Never`},
		},
		{
			"a name that is none fails", "a:b:c", corev1.PullAlways, podworker.InvalidImageName,
			`Failed to apply default image tag "a:b:c": couldn't parse image name "a:b:c": invalid reference format`,
			[]string{`Warning InspectFailed Failed to apply default image tag "a:b:c": couldn't parse image name "a:b:c": invalid reference format`},
		},
		{
			"a store that is broken fails", "broken", corev1.PullAlways, "ImageInspectError", `Failed to inspect image "broken": disk is gone`,
			[]string{`Warning InspectFailed Failed to inspect image "broken": disk is gone`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &store{present: map[string]bool{"here": true, "both": true}, registry: map[string]bool{"there": true, "both": true}}
			p := image.NewPuller(s, clocktesting.NewFakePassiveClock(time.Unix(0, 0)))
			var events []string
			got, err := p.Ensure(t.Context(), tt.image, tt.policy, nil, func(eventType, reason, message string) {
				events = append(events, eventType+" "+reason+" "+message)
			})
			if !slices.Equal(events, tt.events) {
				t.Errorf("events: got %q, want %q", events, tt.events)
			}
			if tt.reason == "" {
				if err != nil || got.ID != tt.image {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			var failed *podworker.Error
			if !errors.As(err, &failed) || failed.Reason != tt.reason || failed.Message != tt.message || failed.Image != tt.image {
				t.Errorf("got %#v, want %s: %s", err, tt.reason, tt.message)
			}
		})
	}
}

func TestAPullHasTheCredentialsOfItsRegistry(t *testing.T) {
	s := &store{registry: map[string]bool{"registry.test/team/app:1": true}}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pull"},
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{
			"registry.test/team": {"username": "ann", "password": "secret"}, "other.test": {"username": "bob", "password": "x"}}}`)},
	}
	_, err := image.NewPuller(s, clocktesting.NewFakePassiveClock(time.Unix(0, 0))).Ensure(t.Context(), "registry.test/team/app:1", corev1.PullAlways,
		[]*corev1.Secret{secret}, func(string, string, string) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.auth) != 1 || s.auth[0].Username != "ann" || s.auth[0].Password != "secret" {
		t.Errorf("got %+v", s.auth)
	}
}
