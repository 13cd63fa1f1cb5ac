package webhook

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

// Setup serves the webhooks of Website, conversion among them. defaultImage is
// for sites that name none.
func Setup(m ctrl.Manager, defaultImage string) error {
	return ctrl.NewWebhookManagedBy(m, &webv1.Website{}).
		WithDefaulter(defaulter{defaultImage}).
		WithValidator(validator{}).
		Complete()
}

// +kubebuilder:webhook:path=/mutate-web-example-com-v1-website,mutating=true,failurePolicy=fail,sideEffects=None,groups=web.example.com,resources=websites,verbs=create;update,versions=v1,name=default.website.web.example.com,admissionReviewVersions=v1

type defaulter struct{ image string }

// Default sets what depends on how the operator was started.
func (d defaulter) Default(_ context.Context, w *webv1.Website) error {
	if w.Spec.Image == "" {
		w.Spec.Image = d.image
	}
	if w.Spec.Replicas == nil {
		one := int32(1)
		w.Spec.Replicas = &one
	}
	return nil
}

// +kubebuilder:webhook:path=/validate-web-example-com-v1-website,mutating=false,failurePolicy=fail,sideEffects=None,groups=web.example.com,resources=websites,verbs=create;update,versions=v1,name=validate.website.web.example.com,admissionReviewVersions=v1

type validator struct{}

// ValidateCreate implements admission.Validator.
func (validator) ValidateCreate(_ context.Context, w *webv1.Website) (admission.Warnings, error) {
	return validate(w)
}

// ValidateUpdate implements admission.Validator.
func (validator) ValidateUpdate(_ context.Context, _, w *webv1.Website) (admission.Warnings, error) {
	return validate(w)
}

// ValidateDelete implements admission.Validator.
func (validator) ValidateDelete(context.Context, *webv1.Website) (admission.Warnings, error) {
	return nil, nil
}

// validate checks what a schema can't.
func validate(w *webv1.Website) (warnings admission.Warnings, err error) {
	var errs field.ErrorList
	// The service has the site's name, and fewer names are a service's.
	for _, message := range validation.IsDNS1035Label(w.Name) {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), w.Name, message))
	}
	if strings.ContainsAny(w.Spec.Greeting, "\r\n") {
		errs = append(errs, field.Invalid(field.NewPath("spec", "greeting"), w.Spec.Greeting, "must be one line"))
	}
	if strings.HasSuffix(w.Spec.Image, ":latest") {
		warnings = append(warnings, "spec.image: nobody knows what :latest will be tomorrow")
	}
	if len(errs) > 0 {
		return warnings, apierrors.NewInvalid(webv1.GroupVersion.WithKind("Website").GroupKind(), w.Name, errs)
	}
	return warnings, nil
}
