package services

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/klog/v2"
)

// IPAddresses are claims of addresses as people see them: an IPAddress object
// names the address and who has it.
type IPAddresses struct {
	// Store gives the storage of IPAddress.
	Store func() *genericregistry.Store
}

var _ Claims = IPAddresses{}

// managedBy is the value of networkingv1.LabelManagedBy of what is ours:
// kube-apiserver's, as the rest of the object is.
const managedBy = "ipallocator.k8s.io"

// ownerUID is the annotation that tells a service from another of its name.
const ownerUID = "skiff.dev/service-uid"

// fresh is how old an object is before it counts as left behind: its service
// may be about to be stored by another server.
const fresh = time.Minute

// Claim implements Claims.
func (c IPAddresses) Claim(ctx context.Context, name, owner string) (bool, error) {
	ctx = request.WithNamespace(ctx, metav1.NamespaceNone)
	for try := 0; ; try++ {
		_, err := c.Store().Create(ctx, newIPAddress(name, owner), rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err == nil, err
		}
		a, err := c.get(ctx, name)
		if apierrors.IsNotFound(err) && try < 3 {
			continue // released meanwhile
		}
		if err != nil {
			return false, err
		}
		return ownerIn(a) == owner, nil
	}
}

// Release implements Claims.
func (c IPAddresses) Release(ctx context.Context, name, owner string) error {
	ctx = request.WithNamespace(ctx, metav1.NamespaceNone)
	a, err := c.get(ctx, name)
	if apierrors.IsNotFound(err) || err == nil && ownerIn(a) != owner {
		return nil
	}
	if err != nil {
		return err
	}
	_, _, err = c.Store().Delete(ctx, name, rest.ValidateAllObjectFunc, metav1.NewPreconditionDeleteOptions(string(a.UID)))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Keep has a service keep its address when somebody deletes the IPAddress: the
// next service would get it too.
func (c IPAddresses) Keep(services *genericregistry.Store) {
	c.Store().AfterDelete = func(obj runtime.Object, _ *metav1.DeleteOptions) {
		a, ok := obj.(*networkingv1.IPAddress)
		if !ok || ownerIn(a) == "" {
			return
		}
		ctx := request.WithNamespace(context.Background(), a.Spec.ParentRef.Namespace)
		obj, err := services.Get(ctx, a.Spec.ParentRef.Name, &metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return // it was released
		}
		if s, ok := obj.(*corev1.Service); ok && err == nil && slices.Contains(held(s).addresses, a.Name) {
			_, err = c.Claim(ctx, a.Name, ownerOf(s))
		}
		if err != nil {
			klog.Background().Error(err, "Address of a service is not claimed again", "IPAddress", klog.KObj(a))
		}
	}
}

// List implements Claims, for repair: what is not a service's or is fresh is
// left out.
func (c IPAddresses) List(ctx context.Context) (map[string]string, error) {
	obj, err := c.Store().List(request.WithNamespace(ctx, metav1.NamespaceAll), &internalversion.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	if list, ok := obj.(*networkingv1.IPAddressList); ok {
		for i := range list.Items {
			a := &list.Items[i]
			if a.Labels[networkingv1.LabelManagedBy] == managedBy && time.Since(a.CreationTimestamp.Time) > fresh {
				out[a.Name] = ownerIn(a)
			}
		}
	}
	return out, nil
}

func (c IPAddresses) get(ctx context.Context, name string) (*networkingv1.IPAddress, error) {
	obj, err := c.Store().Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*networkingv1.IPAddress), nil
}

func newIPAddress(name, owner string) *networkingv1.IPAddress {
	namespace, rest, _ := strings.Cut(owner, "/")
	service, uid, _ := strings.Cut(rest, "/")
	a := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(family(isIP6(name))),
			networkingv1.LabelManagedBy:       managedBy,
		},
	}}
	if uid != "" {
		a.Annotations = map[string]string{ownerUID: uid}
	}
	a.Spec.ParentRef = &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: service}
	return a
}

// ownerIn is the inverse of newIPAddress.
func ownerIn(a *networkingv1.IPAddress) string {
	r := a.Spec.ParentRef
	if r == nil || r.Group != "" || r.Resource != "services" {
		return ""
	}
	return r.Namespace + "/" + r.Name + "/" + string(types.UID(a.Annotations[ownerUID]))
}
