package admission

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	helpers "k8s.io/component-helpers/resource"
)

// limitAnnotation says what was set from a LimitRange.
const limitAnnotation = "kubernetes.io/limit-ranger"

// limitRanger keeps pods and claims within the LimitRanges of their namespace.
type limitRanger struct{ objects Objects }

func (l *limitRanger) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Admit implements admission.MutationInterface: containers get the defaults.
func (l *limitRanger) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok || a.GetOperation() != admission.Create {
		return nil
	}
	ranges, err := l.objects.LimitRanges(ctx, a.GetNamespace())
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("unable to %s %v at this time because there was an error enforcing limit ranges", a.GetOperation(), a.GetResource()))
	}
	for i := range ranges {
		setLimits(pod, &ranges[i])
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (l *limitRanger) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	var check func(*corev1.LimitRangeItem) []error
	pod, isPod := a.GetObject().(*corev1.Pod)
	claim, isClaim := of[corev1.PersistentVolumeClaim](a, "persistentvolumeclaims")
	switch {
	case isPod && (a.GetOperation() == admission.Create && a.GetSubresource() == "" || a.GetSubresource() == "resize"):
		check = func(i *corev1.LimitRangeItem) []error { return podOutside(pod, i) }
	case isClaim:
		check = func(i *corev1.LimitRangeItem) []error { return claimOutside(claim, i) }
	default:
		return nil
	}
	if old, ok := a.GetOldObject().(metav1.Object); ok && a.GetOperation() == admission.Update && old.GetDeletionTimestamp() != nil {
		return nil // it ends anyhow
	}
	ranges, err := l.objects.LimitRanges(ctx, a.GetNamespace())
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("unable to %s %v at this time because there was an error enforcing limit ranges", a.GetOperation(), a.GetResource()))
	}
	for i := range ranges {
		var errs []error
		for k := range ranges[i].Spec.Limits {
			errs = append(errs, check(&ranges[i].Spec.Limits[k])...)
		}
		if len(errs) > 0 {
			return admission.NewForbidden(a, utilerrors.NewAggregate(errs))
		}
	}
	return nil
}

// setLimits gives containers the default requests and limits of a range.
func setLimits(pod *corev1.Pod, r *corev1.LimitRange) {
	defaults := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, item := range r.Spec.Limits {
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for k, v := range item.DefaultRequest {
			defaults.Requests[k] = v.DeepCopy()
		}
		for k, v := range item.Default {
			defaults.Limits[k] = v.DeepCopy()
		}
	}
	var notes []string
	set := func(list *corev1.ResourceList, from corev1.ResourceList, what string) {
		var names []string
		for k, v := range from {
			if _, ok := (*list)[k]; ok {
				continue
			}
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[k] = v.DeepCopy()
			names = append(names, string(k))
		}
		if len(names) > 0 {
			slices.Sort(names)
			notes = append(notes, strings.Join(names, ", ")+what)
		}
	}
	each := func(containers []corev1.Container, kind string) {
		for i := range containers {
			c := &containers[i]
			set(&c.Resources.Requests, defaults.Requests, fmt.Sprintf(" request for %s %s", kind, c.Name))
			set(&c.Resources.Limits, defaults.Limits, fmt.Sprintf(" limit for %s %s", kind, c.Name))
		}
	}
	each(pod.Spec.Containers, "container")
	each(pod.Spec.InitContainers, "init container")
	if len(notes) > 0 {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, limitAnnotation, "LimitRanger plugin set: "+strings.Join(notes, "; "))
	}
}

// podOutside says in what a pod does not fit one limit.
func podOutside(pod *corev1.Pod, item *corev1.LimitRangeItem) (errs []error) {
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			errs = append(errs, outside(item, c.Resources.Requests, c.Resources.Limits)...)
		}
	case corev1.LimitTypePod:
		errs = outside(item, helpers.PodRequests(pod, helpers.PodResourcesOptions{}), helpers.PodLimits(pod, helpers.PodResourcesOptions{}))
	}
	return errs
}

func outside(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(item.Min)) {
		add(below(item.Type, k, item.Min[k], requests, limits))
	}
	for _, k := range slices.Sorted(maps.Keys(item.Max)) {
		add(above(item.Type, k, item.Max[k], requests, limits))
	}
	for _, k := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		add(apart(item.Type, k, item.MaxLimitRequestRatio[k], requests, limits))
	}
	return errs
}

func claimOutside(claim *corev1.PersistentVolumeClaim, item *corev1.LimitRangeItem) (errs []error) {
	if item.Type != corev1.LimitTypePersistentVolumeClaim {
		return nil
	}
	requests := claim.Spec.Resources.Requests
	for _, k := range slices.Sorted(maps.Keys(item.Min)) {
		if err := below(item.Type, k, item.Min[k], requests, nil); err != nil {
			errs = append(errs, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(item.Max)) {
		limit, request := item.Max[k], requests[k]
		if _, ok := requests[k]; !ok {
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", k, item.Type, limit.String()))
		} else if request.Cmp(limit) > 0 {
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", k, item.Type, limit.String(), request.String()))
		}
	}
	return errs
}

func below(typ corev1.LimitType, name corev1.ResourceName, least resource.Quantity, requests, limits corev1.ResourceList) error {
	request, asked := requests[name]
	limit, limited := limits[name]
	switch {
	case !asked:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, typ, least.String())
	case request.Cmp(least) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, typ, least.String(), request.String())
	case limited && limit.Cmp(least) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, typ, least.String(), limit.String())
	}
	return nil
}

func above(typ corev1.LimitType, name corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) error {
	request, asked := requests[name]
	limit, limited := limits[name]
	switch {
	case !limited:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, typ, most.String())
	case limit.Cmp(most) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, typ, most.String(), limit.String())
	case asked && request.Cmp(most) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, typ, most.String(), request.String())
	}
	return nil
}

// apart refuses a limit that is too many times the request.
func apart(typ corev1.LimitType, name corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) error {
	request, asked := requests[name]
	limit, limited := limits[name]
	switch {
	case !asked || request.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, typ, most.String())
	case !limited || limit.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, typ, most.String())
	}
	ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64()
	// Compared in thousandths, the finest that a quantity usually is given in.
	if math.Round(ratio*1000) > math.Round(most.AsApproximateFloat64()*1000) {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, typ, most.String(), ratio)
	}
	return nil
}
