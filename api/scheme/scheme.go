package scheme

import (
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	admissionregistrationv1alpha1 "k8s.io/api/admissionregistration/v1alpha1"
	admissionregistrationv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	apiserverinternalv1alpha1 "k8s.io/api/apiserverinternal/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1alpha2 "k8s.io/api/coordination/v1alpha2"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	storagemigrationv1beta1 "k8s.io/api/storagemigration/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/all"
)

// groups register the versioned types of each group that is served. The
// authentication, authorization and policy groups are here for subresources
// and reviews too, which are no kinds of their own.
var groups = runtime.NewSchemeBuilder(
	corev1.AddToScheme,
	admissionregistrationv1.AddToScheme,
	admissionregistrationv1alpha1.AddToScheme,
	admissionregistrationv1beta1.AddToScheme,
	apiregistrationv1.AddToScheme,
	apiserverinternalv1alpha1.AddToScheme,
	appsv1.AddToScheme,
	authenticationv1.AddToScheme,
	authorizationv1.AddToScheme,
	autoscalingv1.AddToScheme,
	autoscalingv2.AddToScheme,
	batchv1.AddToScheme,
	certificatesv1.AddToScheme,
	certificatesv1beta1.AddToScheme,
	coordinationv1.AddToScheme,
	coordinationv1alpha2.AddToScheme,
	coordinationv1beta1.AddToScheme,
	discoveryv1.AddToScheme,
	eventsv1.AddToScheme,
	flowcontrolv1.AddToScheme,
	lifecyclev1alpha1.AddToScheme,
	networkingv1.AddToScheme,
	nodev1.AddToScheme,
	policyv1.AddToScheme,
	rbacv1.AddToScheme,
	resourcev1.AddToScheme,
	resourcev1alpha3.AddToScheme,
	resourcev1beta1.AddToScheme,
	resourcev1beta2.AddToScheme,
	schedulingv1.AddToScheme,
	schedulingv1alpha3.AddToScheme,
	schedulingv1beta1.AddToScheme,
	storagev1.AddToScheme,
	storagemigrationv1.AddToScheme,
	storagemigrationv1beta1.AddToScheme,
)

// New makes a scheme of all that is served. It shares nothing with other
// schemes, so callers may add to it. It panics where a type's registration
// contradicts another's, which is an error of the program.
func New() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(groups.AddToScheme(s))
	kinds := all.Kinds()
	addInternal(s, kinds)
	addMeta(s)
	s.AddTypeDefaultingFunc(&authenticationv1.TokenRequest{}, func(o any) {
		if r := o.(*authenticationv1.TokenRequest); r.Spec.ExpirationSeconds == nil {
			r.Spec.ExpirationSeconds = ptr.To[int64](60 * 60)
		}
	})
	utilruntime.Must(addEventConversions(s))
	utilruntime.Must(addQueryConversions(s))
	for _, k := range kinds {
		addDefaulting(s, k)
		utilruntime.Must(addForms(s, k))
		utilruntime.Must(addFieldLabels(s, k))
	}
	return s
}

// addInternal registers a type as the internal one of each kind: the one that
// the kind's declaration works on, and of what is no kind the versioned one.
func addInternal(s *runtime.Scheme, kinds []*api.Kind) {
	internal := map[schema.GroupKind]runtime.Object{}
	for _, k := range kinds {
		obj := k.New()
		versions, _, err := s.ObjectKinds(obj)
		utilruntime.Must(err)
		list, err := s.New(versions[0].GroupVersion().WithKind(versions[0].Kind + "List"))
		utilruntime.Must(err)
		internal[k.GVK.GroupKind()] = obj
		internal[schema.GroupKind{Group: k.GVK.Group, Kind: k.GVK.Kind + "List"}] = list
	}
	for gvk, t := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal || strings.HasSuffix(t.PkgPath(), "/meta/v1") || internal[gvk.GroupKind()] != nil {
			continue
		}
		internal[gvk.GroupKind()] = reflect.New(t).Interface().(runtime.Object)
	}
	for gk, obj := range internal {
		s.AddKnownTypeWithName(gk.WithVersion(runtime.APIVersionInternal), obj)
	}
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
		return // served in another form, see addForms
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
