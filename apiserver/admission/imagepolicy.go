package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// imagePolicy asks a server whether a pod may use its images
// (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#imagepolicywebhook).
type imagePolicy struct {
	createOrUpdate
	server  *webhook.GenericWebhook
	answers *cache.LRUExpireCache
	config  imagePolicyConfig
}

// imagePolicyConfig is the plugin's configuration. The numbers are seconds, of
// RetryBackoff milliseconds; 0 is the default and -1 nothing.
type imagePolicyConfig struct {
	KubeConfigFile string        `json:"kubeConfigFile"`
	AllowTTL       time.Duration `json:"allowTTL"`
	DenyTTL        time.Duration `json:"denyTTL"`
	RetryBackoff   time.Duration `json:"retryBackoff"`
	DefaultAllow   bool          `json:"defaultAllow"`
}

const (
	// imageAnswers is how many answers are kept.
	imageAnswers = 1024
	// imageNote is in the annotations of pods that are for the server.
	imageNote   = ".image-policy.k8s.io/"
	imageAudit  = "imagepolicywebhook" + imageNote
	imageFailed = "alpha.image-policy.k8s.io/failed-open"
)

func newImagePolicy(c Config) (admission.Interface, error) {
	var file struct {
		Config imagePolicyConfig `json:"imagePolicy"`
	}
	if c.configuration.reader("ImagePolicyWebhook") == nil {
		return nil, errors.New("no config specified")
	}
	if err := c.configuration.into("ImagePolicyWebhook", "", &file); err != nil {
		return nil, err
	}
	if err := file.Config.complete(); err != nil {
		return nil, err
	}
	client, err := webhook.LoadKubeconfig(file.Config.KubeConfigFile, nil)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := imagepolicyv1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	server, err := webhook.NewGenericWebhook(scheme, serializer.NewCodecFactory(scheme), client,
		[]schema.GroupVersion{imagepolicyv1alpha1.SchemeGroupVersion}, webhook.DefaultRetryBackoffWithInitialDelay(file.Config.RetryBackoff))
	if err != nil {
		return nil, err
	}
	return &imagePolicy{server: server, answers: cache.NewLRUExpireCache(imageAnswers), config: file.Config}, nil
}

// complete turns the numbers into times.
func (c *imagePolicyConfig) complete() error {
	for _, n := range []struct {
		value                     *time.Duration
		unit, least, most, unsaid time.Duration
	}{
		{&c.RetryBackoff, time.Millisecond, 1, 5 * time.Minute, 500 * time.Millisecond},
		{&c.AllowTTL, time.Second, time.Second, 30 * time.Minute, 5 * time.Minute},
		{&c.DenyTTL, time.Second, time.Second, 30 * time.Minute, 30 * time.Second},
	} {
		switch *n.value {
		case -1:
			*n.value = 0
		case 0:
			*n.value = n.unsaid
		default:
			*n.value *= n.unit
			if *n.value < n.least || *n.value > n.most {
				return fmt.Errorf("valid value is between %v and %v, got %v", n.least, n.most, *n.value)
			}
		}
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (p *imagePolicy) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil
	}
	review := &imagepolicyv1alpha1.ImageReview{Spec: imagepolicyv1alpha1.ImageReviewSpec{Namespace: a.GetNamespace(), Annotations: map[string]string{}}}
	add := func(image string) {
		review.Spec.Containers = append(review.Spec.Containers, imagepolicyv1alpha1.ImageReviewContainerSpec{Image: image})
	}
	switch a.GetSubresource() {
	case "":
		for _, c := range pod.Spec.Containers {
			add(c.Image)
		}
		for _, c := range pod.Spec.InitContainers {
			add(c.Image)
		}
	case "ephemeralcontainers":
		for _, c := range pod.Spec.EphemeralContainers {
			add(c.Image)
		}
	default:
		return nil
	}
	for k, v := range pod.Annotations {
		if strings.Contains(k, imageNote) {
			review.Spec.Annotations[k] = v
		}
	}
	if err := p.ask(ctx, a, pod, review); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// ask gives the server's answer, or the one that it gave before.
func (p *imagePolicy) ask(ctx context.Context, a admission.Attributes, pod *corev1.Pod, review *imagepolicyv1alpha1.ImageReview) error {
	key, err := json.Marshal(review.Spec)
	if err != nil {
		return err
	}
	if known, ok := p.answers.Get(string(key)); ok {
		review.Status = known.(imagepolicyv1alpha1.ImageReviewStatus) //nolint:forcetypeassert // nothing else is put in
	} else {
		answer := p.server.WithExponentialBackoff(ctx, func() rest.Result { return p.server.RestClient.Post().Body(review).Do(ctx) })
		if err := answer.Into(review); err != nil {
			if !p.config.DefaultAllow {
				return err
			}
			annotate(ctx, a, imageAudit+"failed-open", "true")
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, imageFailed, "true")
			return nil
		}
		kept := p.config.DenyTTL
		if review.Status.Allowed {
			kept = p.config.AllowTTL
		}
		p.answers.Add(string(key), review.Status, kept)
	}
	for k, v := range review.Status.AuditAnnotations {
		annotate(ctx, a, imageAudit+k, v)
	}
	switch {
	case review.Status.Allowed:
		return nil
	case review.Status.Reason != "":
		return fmt.Errorf("image policy webhook backend denied one or more images: %s", review.Status.Reason)
	}
	return errors.New("one or more images rejected by webhook backend")
}

// annotate adds to what the audit log says of the request.
func annotate(ctx context.Context, a admission.Attributes, key, value string) {
	if err := a.AddAnnotation(key, value); err != nil {
		klog.FromContext(ctx).Error(err, "The audit log does not get an annotation", "key", key)
	}
}
