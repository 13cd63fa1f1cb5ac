package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
)

// What admission reads from the watch caches; it makes objects implement
// admission.Objects.

func (o objects) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return read[corev1.Namespace](ctx, o.s.storeOf("", "namespaces"), "", name)
}

func (o objects) Service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	return read[corev1.Service](ctx, o.s.storeOf("", "services"), namespace, name)
}

func (o objects) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	return read[nodev1.RuntimeClass](ctx, o.s.storeOf(nodev1.GroupName, "runtimeclasses"), "", name)
}

func (o objects) Pods(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	list, err := cached[corev1.PodList](ctx, o.s.storeOf("", "pods"), namespace)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (o objects) LimitRanges(ctx context.Context, namespace string) ([]corev1.LimitRange, error) {
	list, err := cached[corev1.LimitRangeList](ctx, o.s.storeOf("", "limitranges"), namespace)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (o objects) StorageClasses(ctx context.Context) ([]storagev1.StorageClass, error) {
	list, err := cached[storagev1.StorageClassList](ctx, o.s.storeOf(storagev1.GroupName, "storageclasses"), metav1.NamespaceNone)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (o objects) IngressClasses(ctx context.Context) ([]networkingv1.IngressClass, error) {
	list, err := cached[networkingv1.IngressClassList](ctx, o.s.storeOf(networkingv1.GroupName, "ingressclasses"), metav1.NamespaceNone)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// EndpointSlices are those of a service.
func (o objects) EndpointSlices(ctx context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	list, err := selected[discoveryv1.EndpointSliceList](ctx, o.s.storeOf(discoveryv1.GroupName, "endpointslices"), namespace,
		labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
	if err != nil {
		return nil, err
	}
	var out []*discoveryv1.EndpointSlice
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// cached is what the watch cache has of a resource.
func cached[L any](ctx context.Context, store *genericregistry.Store, namespace string) (*L, error) {
	return selected[L](ctx, store, namespace, labels.Everything())
}

func selected[L any](ctx context.Context, store *genericregistry.Store, namespace string, by labels.Selector) (*L, error) {
	obj, err := store.List(request.WithNamespace(ctx, namespace), &internalversion.ListOptions{ResourceVersion: "0", LabelSelector: by})
	if err != nil {
		return nil, err
	}
	list, ok := any(obj).(*L)
	if !ok {
		return nil, fmt.Errorf("list is a %T, not a %T", obj, list)
	}
	return list, nil
}
