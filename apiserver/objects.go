package apiserver

import (
	"context"
	"errors"
	"fmt"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
)

// objects reads single objects from the watch cache, and from etcd those that
// it does not have yet. It implements auth.Objects.
type objects struct{ s *Server }

func (o objects) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return read[corev1.ServiceAccount](ctx, o.s.storeOf("", "serviceaccounts"), namespace, name)
}

func (o objects) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return read[corev1.Pod](ctx, o.s.storeOf("", "pods"), namespace, name)
}

func (o objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return read[corev1.Secret](ctx, o.s.storeOf("", "secrets"), namespace, name)
}

func (o objects) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return read[corev1.Node](ctx, o.s.storeOf("", "nodes"), "", name)
}

func read[T any](ctx context.Context, store *genericregistry.Store, namespace, name string) (*T, error) {
	// Errors name the resource of the request, which here is another's.
	ctx = request.WithRequestInfo(request.WithNamespace(ctx, namespace), &request.RequestInfo{
		IsResourceRequest: true, Verb: "get", Namespace: namespace, Name: name,
		APIGroup: store.DefaultQualifiedResource.Group, Resource: store.DefaultQualifiedResource.Resource,
	})
	obj, err := store.Get(ctx, name, &metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		obj, err = store.Get(ctx, name, &metav1.GetOptions{})
	}
	if err != nil {
		return nil, err
	}
	t, ok := any(obj).(*T)
	if !ok {
		return nil, fmt.Errorf("stored object %s/%s is a %T", namespace, name, obj)
	}
	return t, nil
}

// listPods gives the pods bound to a node, from the watch cache's index.
func listPods(ctx context.Context, store *genericregistry.Store, node string) ([]corev1.Pod, error) {
	obj, err := store.List(request.WithNamespace(ctx, metav1.NamespaceAll), &internalversion.ListOptions{
		ResourceVersion: "0", FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node),
	})
	if err != nil {
		return nil, err
	}
	list, ok := obj.(*corev1.PodList)
	if !ok {
		return nil, fmt.Errorf("list of pods is a %T", obj)
	}
	return list.Items, nil
}

// nodeOfRequest gives the node whose agent asks for a pod's certificate.
func (s *Server) nodeOfRequest(ctx context.Context, namespace, name string) (string, error) {
	requests := s.resources[schema.GroupResource{Group: certificatesv1beta1.GroupName, Resource: "podcertificaterequests"}]
	if requests == nil {
		return "", errors.New("PodCertificateRequests are not served")
	}
	r, err := read[certificatesv1beta1.PodCertificateRequest](ctx, requests.Store, namespace, name)
	if err != nil {
		return "", err
	}
	return string(r.Spec.NodeName), nil
}

// PriorityClass and PriorityClasses make objects implement admission.Objects.
func (o objects) PriorityClass(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	return read[schedulingv1.PriorityClass](ctx, o.s.storeOf(schedulingv1.GroupName, "priorityclasses"), "", name)
}

func (o objects) PriorityClasses(ctx context.Context) ([]schedulingv1.PriorityClass, error) {
	obj, err := o.s.storeOf(schedulingv1.GroupName, "priorityclasses").List(request.WithNamespace(ctx, metav1.NamespaceNone), &internalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	list, ok := obj.(*schedulingv1.PriorityClassList)
	if !ok {
		return nil, fmt.Errorf("list of priority classes is a %T", obj)
	}
	return list.Items, nil
}
