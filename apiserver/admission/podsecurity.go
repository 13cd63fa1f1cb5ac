package admission

import (
	"context"
	"errors"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/component-base/metrics/legacyregistry"
	podsecurity "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"
)

// podSecurity keeps pods to the standard that their namespace's labels name
// (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
type podSecurity struct{ delegate *podsecurity.Admission }

// standards are the checks. They are the same for all servers of a process.
var standards = sync.OnceValues(func() (policy.Evaluator, error) {
	return policy.NewEvaluator(policy.DefaultChecks(), nil)
})

var securityMetrics = sync.OnceValue(func() *metrics.PrometheusRecorder {
	r := metrics.NewPrometheusRecorder(podsecurityapi.GetAPIVersion())
	r.MustRegister(legacyregistry.MustRegister)
	return r
})

func newPodSecurity(c Config) (admission.Interface, error) {
	checks, err := standards()
	if err != nil {
		return nil, err
	}
	config, err := load.LoadFromData(c.configuration["PodSecurity"])
	if err != nil {
		return nil, err
	}
	p := &podsecurity.Admission{
		Configuration: config, Evaluator: checks, Metrics: securityMetrics(), PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{},
		NamespaceGetter: namespaces{c.Objects}, PodLister: podsIn{c.Objects},
	}
	if err := p.CompleteConfiguration(); err != nil {
		return nil, err
	}
	return &podSecurity{p}, p.ValidateConfiguration()
}

type namespaces struct{ objects Objects }

func (n namespaces) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return n.objects.Namespace(ctx, name)
}

type podsIn struct{ objects Objects }

func (p podsIn) ListPods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	list, err := p.objects.Pods(ctx, namespace)
	if err != nil {
		return nil, err
	}
	out := make([]*corev1.Pod, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out, nil
}

func (p *podSecurity) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface.
func (p *podSecurity) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	gr := a.GetResource().GroupResource()
	if gr != corev1.Resource("namespaces") && !p.delegate.PodSpecExtractor.HasPodSpec(gr) {
		return nil
	}
	result := p.delegate.Validate(ctx, &podsecurityapi.AttributesRecord{
		Name: a.GetName(), Namespace: a.GetNamespace(), Kind: a.GetKind(), Resource: a.GetResource(), Subresource: a.GetSubresource(),
		Operation: admissionv1.Operation(a.GetOperation()), Object: a.GetObject(), OldObject: a.GetOldObject(), Username: a.GetUserInfo().GetName(),
	})
	for _, w := range result.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for k, v := range result.AuditAnnotations {
		audit.AddAuditAnnotation(ctx, podsecurityapi.AuditAnnotationPrefix+k, v)
	}
	if result.Allowed {
		return nil
	}
	err := admission.NewForbidden(a, errors.New("Not allowed by PodSecurity"))
	var status *apierrors.StatusError
	if !errors.As(err, &status) || result.Result == nil {
		return err
	}
	if m := result.Result.Message; m != "" {
		status.ErrStatus.Message = m
	}
	if r := result.Result.Reason; r != "" {
		status.ErrStatus.Reason = r
	}
	if d := result.Result.Details; d != nil {
		status.ErrStatus.Details = d
	}
	if c := result.Result.Code; c != 0 {
		status.ErrStatus.Code = c
	}
	return status
}
