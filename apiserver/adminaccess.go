package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
)

// guardDevices lets claims have an administrator's access to devices only in
// namespaces that are labelled for it
// (https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access).
func (s *Server) guardDevices(k *api.Kind) {
	if k.GVK.Group != resourcev1.GroupName || k.GVK.Kind != "ResourceClaim" && k.GVK.Kind != "ResourceClaimTemplate" {
		return
	}
	validate := k.Validate
	k.Validate = func(ctx context.Context, obj runtime.Object) field.ErrorList {
		var first field.ErrorList
		switch o := obj.(type) {
		case *resourcev1.ResourceClaim:
			if o.ResourceVersion == "" { // else its spec cannot change
				first = s.allowAdmin(ctx, o.Namespace, asksForAdmin(&o.Spec))
			}
		case *resourcev1.ResourceClaimTemplate:
			if o.ResourceVersion == "" {
				first = s.allowAdmin(ctx, o.Namespace, asksForAdmin(&o.Spec.Spec))
			}
		}
		return append(first, validate(ctx, obj)...)
	}
	if k.Status == nil {
		return
	}
	check := k.Status.Validate
	k.Status.Validate = func(obj, old runtime.Object) field.ErrorList {
		now, ok := obj.(*resourcev1.ResourceClaim)
		before, was := old.(*resourcev1.ResourceClaim)
		var first field.ErrorList
		if ok && was && hasAdmin(&before.Status) == nil {
			first = s.allowAdmin(context.Background(), now.Namespace, hasAdmin(&now.Status))
		}
		return append(first, check(obj, old)...)
	}
}

// allowAdmin reports what at says when the namespace does not allow it; nil:
// nothing is asked for.
func (s *Server) allowAdmin(ctx context.Context, namespace string, at *field.Path) field.ErrorList {
	if at == nil {
		return nil
	}
	n, err := read[corev1.Namespace](ctx, s.storeOf("", "namespaces"), "", namespace)
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	}
	if n.Labels[resourcev1.DRAAdminNamespaceLabelKey] == "true" {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
}

// asksForAdmin is where a claim asks first; Kubernetes names the place of a
// template's as if it were a claim.
func asksForAdmin(s *resourcev1.ResourceClaimSpec) *field.Path {
	for i, r := range s.Devices.Requests {
		if r.Exactly != nil && ptr.Deref(r.Exactly.AdminAccess, false) {
			return field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess")
		}
	}
	return nil
}

// hasAdmin is where a claim was given it first.
func hasAdmin(s *resourcev1.ResourceClaimStatus) *field.Path {
	if s.Allocation == nil {
		return nil
	}
	for i, r := range s.Allocation.Devices.Results {
		if ptr.Deref(r.AdminAccess, false) {
			return field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess")
		}
	}
	return nil
}
