package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiffcluster/skiff/apiserver/aggregation"
	"github.com/skiffcluster/skiff/apiserver/auth"
)

// bootstrap writes what every cluster begins with and brings it up to date. It
// goes to the stores directly: it is the server's own doing, and a start must
// not pay for a hundred requests.
func (s *Server) bootstrap(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := s.repairServices(ctx)
		if apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) {
			return false, nil // the watch cache is filling
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("repair addresses of services: %w", err)
	}
	var objs []metav1.Object
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		objs = append(objs, systemNamespace(name, metav1.Now()))
	}
	if err := s.ensure(ctx, objs); err != nil {
		return err
	}
	objs = nil
	for _, r := range auth.ClusterRoles() {
		objs = append(objs, r)
	}
	for _, r := range auth.ClusterRoleBindings() {
		objs = append(objs, r)
	}
	for _, r := range auth.Roles() {
		objs = append(objs, r)
	}
	for _, r := range auth.RoleBindings() {
		objs = append(objs, r)
	}
	objs = append(objs, priorityClasses()...)
	service, err := s.apiService()
	if err != nil {
		return err
	}
	objs = append(objs, service)
	if err := s.ensure(ctx, objs); err != nil {
		return err
	}
	return s.waitForRoles(ctx, objs)
}

// systemNamespace is a namespace that every cluster has, whose label is managed
// by the API server as if it had sent a request.
func systemNamespace(name string, now metav1.Time) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{
		Manager: "kube-apiserver", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &now, FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:kubernetes.io/metadata.name":{}}}}`),
	}}}}
}

// waitForRoles waits until the authorizer has seen the bootstrap roles among
// objs: until then it refuses what they allow.
func (s *Server) waitForRoles(ctx context.Context, objs []metav1.Object) error {
	if !s.serves(rbacv1.SchemeGroupVersion, "clusterroles") {
		return nil // and the authorizer has none
	}
	return wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) {
		for ; len(objs) > 0; objs = objs[1:] {
			if !s.rbacKnows(objs[0]) {
				return false, nil
			}
		}
		return true, nil
	})
}

// rbacKnows says whether the authorizer acts by an object, if it is one that it
// acts by.
func (s *Server) rbacKnows(obj metav1.Object) bool {
	var err error
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		_, err = s.rbac.ClusterRoles.Get(o.Name)
	case *rbacv1.ClusterRoleBinding:
		_, err = s.rbac.ClusterRoleBindings.Get(o.Name)
	case *rbacv1.Role:
		_, err = s.rbac.Roles.Roles(o.Namespace).Get(o.Name)
	case *rbacv1.RoleBinding:
		_, err = s.rbac.RoleBindings.RoleBindings(o.Namespace).Get(o.Name)
	}
	return err == nil
}

// bootstrapWriters is how many objects are written at once: etcd syncs a
// batch to disk at a time.
const bootstrapWriters = 16

// ensure creates the objects that are missing and updates the server's own.
func (s *Server) ensure(ctx context.Context, objs []metav1.Object) error {
	var group sync.WaitGroup
	errs := make([]error, len(objs))
	slots := make(chan struct{}, bootstrapWriters)
	for i, obj := range objs {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := s.ensureOne(ctx, obj); err != nil {
				errs[i] = fmt.Errorf("%T %s: %w", obj, obj.GetName(), err)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) ensureOne(ctx context.Context, obj metav1.Object) error {
	o := obj.(runtime.Object)
	store, gvk, err := s.storeFor(o)
	if err != nil {
		return err
	}
	ctx = request.WithRequestInfo(request.WithNamespace(ctx, obj.GetNamespace()), &request.RequestInfo{
		IsResourceRequest: true, APIGroup: gvk.Group, APIVersion: gvk.Version, Resource: store.DefaultQualifiedResource.Resource,
		Namespace: obj.GetNamespace(), Name: obj.GetName(), Verb: "create",
	})
	shared().scheme.Default(o)
	_, err = store.Get(ctx, obj.GetName(), &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, failed := store.Create(ctx, o.DeepCopyObject(), rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
		if failed == nil {
			return nil
		}
		// Another server on the same data may have been faster.
		if _, err = store.Get(ctx, obj.GetName(), &metav1.GetOptions{}); err != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	_, _, err = store.Update(ctx, obj.GetName(), rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		return bringUpToDate(old, o), nil
	}), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return err
}

// bringUpToDate changes what the server owns of an object that exists: rules
// and subjects are added to, never taken away; the API server's address
// follows the server.
func bringUpToDate(old, want runtime.Object) runtime.Object {
	obj := old.DeepCopyObject()
	if m, err := meta.Accessor(obj); err == nil && m.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return obj
	}
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		o.Rules = missing(o.Rules, want.(*rbacv1.ClusterRole).Rules)
	case *rbacv1.Role:
		o.Rules = missing(o.Rules, want.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRoleBinding:
		o.Subjects = missing(o.Subjects, want.(*rbacv1.ClusterRoleBinding).Subjects)
	case *rbacv1.RoleBinding:
		o.Subjects = missing(o.Subjects, want.(*rbacv1.RoleBinding).Subjects)
	case *corev1.ConfigMap:
		o.Data = want.(*corev1.ConfigMap).Data
	case *apiregistrationv1.APIService:
		if aggregation.Managed(o) {
			o.Spec = want.(*apiregistrationv1.APIService).Spec
		}
	case *flowcontrolv1.FlowSchema:
		bringFlowUpToDate(o, want.(*flowcontrolv1.FlowSchema))
	case *flowcontrolv1.PriorityLevelConfiguration:
		bringLevelUpToDate(o, want.(*flowcontrolv1.PriorityLevelConfiguration))
	case *corev1.Endpoints:
		o.Subsets = want.(*corev1.Endpoints).Subsets
	case *discoveryv1.EndpointSlice:
		o.Endpoints, o.Ports = want.(*discoveryv1.EndpointSlice).Endpoints, want.(*discoveryv1.EndpointSlice).Ports
	}
	return obj
}

// missing adds to have what want has and it has not.
func missing[T any](have, want []T) []T {
	for _, w := range want {
		found := false
		for i := range have {
			found = found || apiequality.Semantic.DeepEqual(have[i], w)
		}
		if !found {
			have = append(have, w)
		}
	}
	return have
}

func (s *Server) storeFor(obj runtime.Object) (*genericregistry.Store, schema.GroupVersionKind, error) {
	if r := s.byType[reflect.TypeOf(obj)]; r != nil {
		return r.Store, r.Kind.GVK, nil
	}
	return nil, schema.GroupVersionKind{}, fmt.Errorf("kind %T is not served", obj)
}

// priorityClasses are the two that system pods name
// (https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/).
func priorityClasses() []metav1.Object {
	return []metav1.Object{
		&schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: "system-node-critical"}, Value: 2000001000,
			Description: "Used for system critical pods that must not be moved from their current node.",
		},
		&schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: "system-cluster-critical"}, Value: 2000000000,
			Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
		},
	}
}

// apiService is how pods find the API server: the first address of the range.
func (s *Server) apiService() (*corev1.Service, error) {
	first, _, _ := strings.Cut(s.config.ServiceClusterIPRange, ",")
	prefix, err := netip.ParsePrefix(first)
	if err != nil {
		return nil, fmt.Errorf("service-cluster-ip-range %q: %w", s.config.ServiceClusterIPRange, err)
	}
	ip := prefix.Masked().Addr().Next().String()
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: "kubernetes",
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt(s.port())}},
		},
	}, nil
}

func (s *Server) port() int {
	if s.config.Listener != nil {
		if a, ok := s.config.Listener.Addr().(*net.TCPAddr); ok {
			return a.Port
		}
	}
	return 6443
}
