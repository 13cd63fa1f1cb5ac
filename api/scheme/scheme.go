package scheme

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/all"
)

// groups register the versioned types of each group that is served. The
// authentication, authorization and policy groups are here for subresources
// and reviews too, which are no kinds of their own.
var groups = runtime.NewSchemeBuilder(
	corev1.AddToScheme,
	admissionregistrationv1.AddToScheme,
	appsv1.AddToScheme,
	authenticationv1.AddToScheme,
	authorizationv1.AddToScheme,
	autoscalingv1.AddToScheme,
	autoscalingv2.AddToScheme,
	batchv1.AddToScheme,
	certificatesv1.AddToScheme,
	coordinationv1.AddToScheme,
	discoveryv1.AddToScheme,
	eventsv1.AddToScheme,
	networkingv1.AddToScheme,
	nodev1.AddToScheme,
	policyv1.AddToScheme,
	rbacv1.AddToScheme,
	schedulingv1.AddToScheme,
	storagev1.AddToScheme,
)

// New makes a scheme of all that is served. It shares nothing with other
// schemes, so callers may add to it. It panics where a type's registration
// contradicts another's, which is an error of the program.
func New() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(groups.AddToScheme(s))
	addInternal(s)
	addMeta(s)
	utilruntime.Must(addEventConversions(s))
	utilruntime.Must(addQueryConversions(s))
	for _, k := range all.Kinds() {
		addDefaulting(s, k)
		utilruntime.Must(addFieldLabels(s, k))
	}
	return s
}

// addInternal registers every versioned type as the internal one of its group.
func addInternal(s *runtime.Scheme) {
	known := s.AllKnownTypes()
	byName := slices.SortedFunc(maps.Keys(known), func(a, b schema.GroupVersionKind) int {
		return strings.Compare(a.String(), b.String())
	})
	for _, gvk := range byName {
		t := known[gvk]
		if gvk.Version == runtime.APIVersionInternal || strings.HasSuffix(t.PkgPath(), "/meta/v1") {
			continue
		}
		internal := schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}.WithVersion(runtime.APIVersionInternal)
		s.AddKnownTypeWithName(internal, internalType(gvk, t))
	}
}

// internalType is the Go type that objects of a kind are worked on in.
func internalType(gvk schema.GroupVersionKind, t reflect.Type) runtime.Object {
	switch gvk.GroupKind() {
	case schema.GroupKind{Group: eventsv1.GroupName, Kind: "Event"}:
		return &corev1.Event{}
	case schema.GroupKind{Group: eventsv1.GroupName, Kind: "EventList"}:
		return &corev1.EventList{}
	case schema.GroupKind{Group: autoscalingv2.GroupName, Kind: "HorizontalPodAutoscaler"}:
		return &autoscalingv2.HorizontalPodAutoscaler{}
	case schema.GroupKind{Group: autoscalingv2.GroupName, Kind: "HorizontalPodAutoscalerList"}:
		return &autoscalingv2.HorizontalPodAutoscalerList{}
	}
	return reflect.New(t).Interface().(runtime.Object)
}

// addMeta registers what all groups share.
func addMeta(s *runtime.Scheme) {
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(s, v1)
	s.AddUnversionedTypes(v1,
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
}

// addDefaulting makes decoding default the kind's objects, alone and in lists.
func addDefaulting(s *runtime.Scheme, k *api.Kind) {
	obj := k.New()
	kinds, _, err := s.ObjectKinds(obj)
	if err != nil || !slices.Contains(kinds, k.GVK) {
		return // served in another form, which its conversion defaults
	}
	s.AddTypeDefaultingFunc(obj, func(o any) { k.Default(o.(runtime.Object)) })
	list, err := s.New(k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List"))
	utilruntime.Must(err)
	s.AddTypeDefaultingFunc(list, func(o any) {
		utilruntime.Must(meta.EachListItem(o.(runtime.Object), func(item runtime.Object) error {
			k.Default(item)
			return nil
		}))
	})
}
