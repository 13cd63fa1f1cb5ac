package admission

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"
)

// priority turns a pod's priority class into a number.
type priority struct{ objects Objects }

func (p *priority) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Admit implements admission.MutationInterface.
func (p *priority) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok {
		return nil
	}
	if a.GetOperation() == admission.Update {
		// A client that says nothing of them does not mean to clear them.
		if old, ok := a.GetOldObject().(*corev1.Pod); ok {
			pod.Spec.Priority = cmp.Or(pod.Spec.Priority, old.Spec.Priority)
			pod.Spec.PreemptionPolicy = cmp.Or(pod.Spec.PreemptionPolicy, old.Spec.PreemptionPolicy)
		}
		return nil
	}
	value, policy, err := p.resolve(ctx, a, pod)
	if err != nil {
		return err
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value))
	}
	pod.Spec.Priority = &value
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
		return admission.NewForbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy))
	}
	pod.Spec.PreemptionPolicy = &policy
	return nil
}

func (p *priority) resolve(ctx context.Context, a admission.Attributes, pod *corev1.Pod) (int32, corev1.PreemptionPolicy, error) {
	if pod.Spec.PriorityClassName != "" {
		class, err := p.objects.PriorityClass(ctx, pod.Spec.PriorityClassName)
		if err != nil {
			if apierrors.IsNotFound(err) {
				err = fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName)
			}
			return 0, "", admission.NewForbidden(a, err)
		}
		return class.Value, policyOf(class), nil
	}
	classes, err := p.objects.PriorityClasses(ctx)
	if err != nil {
		return 0, "", apierrors.NewInternalError(fmt.Errorf("list priority classes: %w", err))
	}
	// The least of several defaults: raising pods by mistake is the worse one.
	var chosen *schedulingv1.PriorityClass
	for i := range classes {
		if c := &classes[i]; c.GlobalDefault && (chosen == nil || c.Value < chosen.Value) {
			chosen = c
		}
	}
	if chosen == nil {
		return 0, corev1.PreemptLowerPriority, nil
	}
	pod.Spec.PriorityClassName = chosen.Name
	return chosen.Value, policyOf(chosen), nil
}

func policyOf(c *schedulingv1.PriorityClass) corev1.PreemptionPolicy {
	return ptr.Deref(c.PreemptionPolicy, corev1.PreemptLowerPriority)
}

// Validate implements admission.ValidationInterface: there is one default.
func (p *priority) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	class, ok := of[schedulingv1.PriorityClass](a, "priorityclasses")
	if !ok || !class.GlobalDefault {
		return nil
	}
	classes, err := p.objects.PriorityClasses(ctx)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("list priority classes: %w", err))
	}
	for i := range classes {
		if c := &classes[i]; c.GlobalDefault && c.Name != class.Name {
			return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", c.Name))
		}
	}
	return nil
}
