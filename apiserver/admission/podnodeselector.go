package admission

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
)

// podSelector adds the node selector of its namespace to a pod, and refuses
// labels that a namespace's pods may not ask for.
type podSelector struct {
	objects Objects
	// selectors are of the configuration: clusterDefaultNodeSelector is of
	// namespaces without one, the others say what a namespace may ask for.
	selectors map[string]string
}

const (
	namespaceSelector = "scheduler.alpha.kubernetes.io/node-selector"
	defaultSelector   = "clusterDefaultNodeSelector"
)

func newPodSelector(c Config) (admission.Interface, error) {
	var file struct {
		Selectors map[string]string `json:"podNodeSelectorPluginConfig"`
	}
	if err := c.configuration.into("PodNodeSelector", "", &file); err != nil {
		return nil, err
	}
	return podSelector{c.Objects, file.Selectors}, nil
}

func (podSelector) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit implements admission.MutationInterface.
func (p podSelector) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok {
		return nil
	}
	wanted, err := p.fits(ctx, a, pod)
	if err != nil {
		return err
	}
	pod.Spec.NodeSelector = labels.Merge(wanted, pod.Spec.NodeSelector)
	return p.Validate(ctx, a, o)
}

// fits gives the selector of the pod's namespace, which the pod's own must not
// contradict.
func (p podSelector) fits(ctx context.Context, a admission.Attributes, pod *corev1.Pod) (map[string]string, error) {
	wanted, err := p.ofNamespace(ctx, a)
	if err == nil && labels.Conflicts(wanted, pod.Spec.NodeSelector) {
		err = refusedSelector(a, pod, "pod node label selector conflicts with its namespace node label selector")
	}
	return wanted, err
}

// Validate implements admission.ValidationInterface.
func (p podSelector) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok {
		return nil
	}
	if _, err := p.fits(ctx, a, pod); err != nil {
		return err
	}
	allowed, err := labels.ConvertSelectorToLabelsMap(p.selectors[a.GetNamespace()])
	if err != nil {
		return err
	}
	for k, v := range pod.Spec.NodeSelector {
		if is, ok := allowed[k]; len(allowed) > 0 && (!ok || is != v) {
			return refusedSelector(a, pod, "pod node label selector labels conflict with its namespace whitelist")
		}
	}
	return nil
}

func refusedSelector(a admission.Attributes, pod *corev1.Pod, why string) error {
	return apierrors.NewForbidden(a.GetResource().GroupResource(), pod.Name, errors.New(why))
}

// ofNamespace is the node selector of the request's namespace.
func (p podSelector) ofNamespace(ctx context.Context, a admission.Attributes) (labels.Set, error) {
	ns, err := p.objects.Namespace(ctx, a.GetNamespace())
	if err != nil {
		return nil, err
	}
	text, ok := ns.Annotations[namespaceSelector]
	if !ok {
		text = p.selectors[defaultSelector]
	}
	return labels.ConvertSelectorToLabelsMap(text)
}
