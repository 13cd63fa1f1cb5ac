package services

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// DefaultCIDR is the name of the ServiceCIDR with the server's own ranges.
const DefaultCIDR = "kubernetes"

// CIDRs are the ServiceCIDR objects.
type CIDRs struct {
	// Store and Status give the storage of ServiceCIDR and of its status.
	Store, Status func() *genericregistry.Store
}

// Ready gives the ranges of a family that are ready and not on their way out,
// as the watch cache has them.
func (c CIDRs) Ready(ctx context.Context, is6 bool) ([]netip.Prefix, error) {
	obj, err := c.Store().List(request.WithNamespace(ctx, metav1.NamespaceAll), &internalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("list service CIDRs: %w", err)
	}
	list, ok := obj.(*networkingv1.ServiceCIDRList)
	if !ok {
		return nil, fmt.Errorf("list of service CIDRs is a %T", obj)
	}
	var out []netip.Prefix
	for i := range list.Items {
		if usable(&list.Items[i]) {
			out = append(out, prefixes(&list.Items[i], is6)...)
		}
	}
	return out, nil
}

func usable(c *networkingv1.ServiceCIDR) bool {
	return c.DeletionTimestamp == nil && meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
}

func prefixes(c *networkingv1.ServiceCIDR, is6 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() == is6 {
			out = append(out, p.Masked())
		}
	}
	return out
}

// EnsureDefault creates the server's own ServiceCIDR and says that it is
// ready. One with other ranges stays, as Kubernetes has it: its addresses are
// in use.
func (c CIDRs) EnsureDefault(ctx context.Context, ranges []*Addresses) error {
	ctx = request.WithNamespace(ctx, metav1.NamespaceNone)
	obj, err := c.Store().Get(ctx, DefaultCIDR, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		want := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: DefaultCIDR}}
		for _, r := range ranges {
			want.Spec.CIDRs = append(want.Spec.CIDRs, r.prefix.String())
		}
		obj, err = c.Store().Create(ctx, want, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // another server
		}
	}
	if err != nil {
		return fmt.Errorf("default service CIDR: %w", err)
	}
	have := obj.(*networkingv1.ServiceCIDR)
	for _, r := range ranges {
		if !slices.Contains(have.Spec.CIDRs, r.prefix.String()) {
			return nil // not ours to say
		}
	}
	if usable(have) {
		return nil
	}
	ready := have.DeepCopy()
	meta.SetStatusCondition(&ready.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready",
	})
	_, _, err = c.Status().Update(ctx, DefaultCIDR, rest.DefaultUpdatedObjectInfo(ready), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("status of the default service CIDR: %w", err)
	}
	return nil
}
