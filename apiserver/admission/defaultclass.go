package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

const (
	defaultStorageClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultStorageClass = "storageclass.beta.kubernetes.io/is-default-class"
	// oldIngressClass named the class before there was a field for it.
	oldIngressClass = "kubernetes.io/ingress.class"
)

// storageClass gives claims that name no class the default one.
type storageClass struct{ objects Objects }

func (storageClass) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit implements admission.MutationInterface.
func (s storageClass) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := of[corev1.PersistentVolumeClaim](a, "persistentvolumeclaims")
	if !ok || claim.Spec.StorageClassName != nil {
		return nil
	}
	if _, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return nil
	}
	classes, err := s.objects.StorageClasses(ctx)
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	chosen := newest(classes, defaultStorageClass, betaDefaultStorageClass)
	if chosen != nil {
		name := chosen.GetName()
		claim.Spec.StorageClassName = &name
	}
	return nil
}

// ingressClass gives ingresses that name no class the default one.
type ingressClass struct{ objects Objects }

func (ingressClass) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit implements admission.MutationInterface.
func (i ingressClass) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	ingress, ok := of[networkingv1.Ingress](a, "ingresses")
	if !ok || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, ok := ingress.Annotations[oldIngressClass]; ok {
		return nil
	}
	classes, err := i.objects.IngressClasses(ctx)
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if chosen := newest(classes, networkingv1.AnnotationIsDefaultIngressClass); chosen != nil {
		name := chosen.GetName()
		ingress.Spec.IngressClassName = &name
	}
	return nil
}

// newest of the objects that an annotation marks as the default; of several of
// one second the first by name.
func newest[T any](objects []T, marks ...string) metav1.Object {
	var chosen metav1.Object
	for i := range objects {
		m, ok := any(&objects[i]).(metav1.Object)
		if !ok || !marked(m, marks) {
			continue
		}
		if chosen == nil {
			chosen = m
			continue
		}
		at, best := m.GetCreationTimestamp(), chosen.GetCreationTimestamp()
		if at.After(best.Time) || at.Equal(&best) && m.GetName() < chosen.GetName() {
			chosen = m
		}
	}
	return chosen
}

func marked(m metav1.Object, marks []string) bool {
	for _, k := range marks {
		if m.GetAnnotations()[k] == "true" {
			return true
		}
	}
	return false
}

// claimResize lets a claim grow only where its class can.
type claimResize struct{ objects Objects }

func (claimResize) Handles(op admission.Operation) bool { return op == admission.Update }

// Validate implements admission.ValidationInterface.
func (r claimResize) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := of[corev1.PersistentVolumeClaim](a, "persistentvolumeclaims")
	old, was := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !was {
		return nil
	}
	now, before := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if now.Cmp(before) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return admission.NewForbidden(a, fmt.Errorf("only bound persistent volume claims can be expanded"))
	}
	name, named := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if !named && claim.Spec.StorageClassName != nil {
		name = *claim.Spec.StorageClassName
	}
	if name != "" {
		classes, err := r.objects.StorageClasses(ctx)
		if err != nil {
			return admission.NewForbidden(a, err)
		}
		for i := range classes {
			if classes[i].Name == name && classes[i].AllowVolumeExpansion != nil && *classes[i].AllowVolumeExpansion {
				return nil
			}
		}
	}
	return admission.NewForbidden(a, fmt.Errorf("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}

// inUse keeps claims, volumes and VolumeAttributesClasses until nothing uses them
// any more: the finalizers are removed by controllers.
type inUse struct{}

func (inUse) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit implements admission.MutationInterface.
func (inUse) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	protect := func(m *metav1.ObjectMeta, finalizer string) {
		for _, f := range m.Finalizers {
			if f == finalizer {
				return
			}
		}
		m.Finalizers = append(m.Finalizers, finalizer)
	}
	if claim, ok := of[corev1.PersistentVolumeClaim](a, "persistentvolumeclaims"); ok {
		protect(&claim.ObjectMeta, "kubernetes.io/pvc-protection")
	}
	if volume, ok := of[corev1.PersistentVolume](a, "persistentvolumes"); ok {
		protect(&volume.ObjectMeta, "kubernetes.io/pv-protection")
	}
	if class, ok := of[storagev1.VolumeAttributesClass](a, "volumeattributesclasses"); ok {
		protect(&class.ObjectMeta, "kubernetes.io/vac-protection")
	}
	return nil
}
