package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/skiffcluster/skiff/api/core"
)

// podTolerations adds the tolerations of its namespace to a pod, and refuses
// those that a namespace's pods may not have.
type podTolerations struct {
	createOrUpdate
	objects Objects
	// defaults and allowed are of namespaces that say nothing.
	defaults, allowed []corev1.Toleration
}

const (
	namespaceTolerations = "scheduler.alpha.kubernetes.io/defaultTolerations"
	allowedTolerations   = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

func newPodTolerations(c Config) (admission.Interface, error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`

		Default   []corev1.Toleration `json:"default,omitempty"`
		Whitelist []corev1.Toleration `json:"whitelist,omitempty"`
	}
	err := c.configuration.into("PodTolerationRestriction", "podtolerationrestriction.admission.k8s.io/v1alpha1", &file)
	return &podTolerations{objects: c.Objects, defaults: file.Default, allowed: file.Whitelist}, err
}

// Admit implements admission.MutationInterface.
func (p *podTolerations) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok {
		return nil
	}
	var more []corev1.Toleration
	if a.GetOperation() == admission.Create {
		of, said, err := p.said(ctx, a.GetNamespace(), namespaceTolerations)
		if err != nil {
			return err
		}
		if more = of; !said {
			more = slices.Clone(p.defaults)
		}
	}
	if core.QOSClass(pod) != corev1.PodQOSBestEffort {
		more = append(more, corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	if len(more) > 0 {
		pod.Spec.Tolerations = without(append(pod.Spec.Tolerations, more...))
	}
	return p.Validate(ctx, a, o)
}

// Validate implements admission.ValidationInterface.
func (p *podTolerations) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok || len(pod.Spec.Tolerations) == 0 {
		return nil
	}
	scope := "namespace"
	allowed, said, err := p.said(ctx, a.GetNamespace(), allowedTolerations)
	if err != nil {
		return err
	}
	if !said {
		scope, allowed = "cluster", p.allowed
	}
	for _, t := range pod.Spec.Tolerations {
		if len(allowed) > 0 && !slices.ContainsFunc(allowed, func(w corev1.Toleration) bool { return covers(w, t) }) {
			return fmt.Errorf("pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", scope)
		}
	}
	return nil
}

// said is what an annotation of a namespace says, and whether it is there.
func (p *podTolerations) said(ctx context.Context, namespace, annotation string) (out []corev1.Toleration, said bool, err error) {
	ns, err := p.objects.Namespace(ctx, namespace)
	if err != nil {
		return nil, false, err
	}
	text, said := ns.Annotations[annotation]
	if text != "" {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, said, err
}

// without leaves out tolerations that another one covers.
func without(all []corev1.Toleration) []corev1.Toleration {
	var out []corev1.Toleration
	for i, t := range all {
		before := slices.ContainsFunc(out, func(o corev1.Toleration) bool { return covers(o, t) })
		after := slices.ContainsFunc(all[i+1:], func(o corev1.Toleration) bool { return !apiequality.Semantic.DeepEqual(o, t) && covers(o, t) })
		if !before && !after {
			out = append(out, t)
		}
	}
	return out
}

// covers says whether a tolerates all that t does.
func covers(a, t corev1.Toleration) bool {
	switch {
	case apiequality.Semantic.DeepEqual(a, t):
		return true
	case a.Key != t.Key && (a.Key != "" || a.Operator != corev1.TolerationOpExists),
		a.Effect != t.Effect && a.Effect != "":
		return false
	case a.Effect == corev1.TaintEffectNoExecute && a.TolerationSeconds != nil &&
		(t.TolerationSeconds == nil || *t.TolerationSeconds > *a.TolerationSeconds):
		return false
	case a.Operator == corev1.TolerationOpExists:
		return true
	}
	return t.Operator == corev1.TolerationOpEqual && t.Value == a.Value
}
