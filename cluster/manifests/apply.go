package manifests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/util/csaupgrade"
)

// pause is the time between two looks at what comes within milliseconds.
const pause = 2 * time.Millisecond

// rank is an object's place in the order of Apply.
func rank(o *unstructured.Unstructured) int {
	switch gk := o.GroupVersionKind().GroupKind(); gk {
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		return 0
	case schema.GroupKind{Kind: "Namespace"}:
		return 1
	case schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:
		return 3
	default:
		return 2
	}
}

// Order puts objects into the order in which they can be applied; those of one
// rank stay as they are.
func Order(objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := slices.Clone(objs)
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return out
}

// Applier applies objects as one of the managers of their fields.
type Applier struct {
	// Replaced are objects, "Kind name", that become what is given here, but for
	// labels and annotations: no field that another manager has set stays. A
	// webhook's url and service exclude each other. For the same reason they
	// are written as the manager that has applied them before.
	Replaced []string
	// Dropped says which annotations of before Replaced objects do not keep; nil:
	// they keep all.
	Dropped func(annotation string) bool

	client  dynamic.Interface
	served  discovery.DiscoveryInterface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	manager string
}

// NewApplier gives an Applier for a cluster. manager is the field manager
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers).
// Without one each object is written as the manager that has applied it before,
// such as helm, or as kubectl: when that one applies it again it meets no
// conflict, and removes what it leaves out.
func NewApplier(config *restclient.Config, manager string) (*Applier, error) {
	config = restclient.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = "", "" // custom resources are JSON
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for manifests: %w", err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for manifests: %w", err)
	}
	return &Applier{nil, nil, client, d, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d)), manager}, nil
}

// Apply writes the objects in their order by server-side apply and waits until
// definitions are established, at most until ctx ends.
func (a *Applier) Apply(ctx context.Context, objs []*unstructured.Unstructured) error {
	ordered := Order(objs)
	crds := 0
	for ; crds < len(ordered) && rank(ordered[crds]) == 0; crds++ {
		if err := a.apply(ctx, ordered[crds]); err != nil {
			return err
		}
	}
	for _, crd := range ordered[:crds] {
		if err := a.established(ctx, crd); err != nil {
			return err
		}
	}
	for _, o := range ordered[crds:] {
		if err := a.apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (a *Applier) apply(ctx context.Context, o *unstructured.Unstructured) error {
	in, err := a.resource(ctx, o)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	for begin := time.Now(); ; {
		err := a.write(ctx, in, o)
		if err == nil {
			return nil
		}
		if !awaitsAccount(o, err) && !apierrors.IsConflict(err) || time.Since(begin) > accountTimeout || ctx.Err() != nil {
			return fmt.Errorf("apply %s: %w", name(o), err)
		}
		time.Sleep(pause)
	}
}

// write applies an object, or replaces the one that there is.
func (a *Applier) write(ctx context.Context, in dynamic.ResourceInterface, o *unstructured.Unstructured) error {
	manager, replaced := a.manager, slices.Contains(a.Replaced, name(o))
	if manager == "" || replaced {
		live, err := in.Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			manager = kubectl
		case err != nil:
			return err
		case replaced:
			return a.replace(ctx, in, o, live)
		default:
			manager = applierOf(live)
		}
	}
	_, err := in.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// replace makes o of live by an update, which is then turned into what its
// manager has applied: server-side apply removes only what its manager applied
// before.
func (a *Applier) replace(ctx context.Context, in dynamic.ResourceInterface, o, live *unstructured.Unstructured) error {
	manager := applierOf(live)
	written, err := in.Update(ctx, a.replacement(o, live), metav1.UpdateOptions{FieldManager: manager})
	if err != nil {
		return err
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(written, sets.New(manager), manager)
	if err != nil || patch == nil {
		return err
	}
	_, err = in.Patch(ctx, o.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager})
	return err
}

// kubectl is the field manager of `kubectl apply --server-side`.
const kubectl = "kubectl"

// applierOf is the manager that has applied most of an object by server-side
// apply, and will again; kubectl, if none has. Some others apply a field or two,
// as cert-manager does a caBundle.
func applierOf(live *unstructured.Unstructured) string {
	manager, most := kubectl, 0
	for _, e := range live.GetManagedFields() {
		if e.Operation != metav1.ManagedFieldsOperationApply || e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		if size := len(e.FieldsV1.GetRawString()); size > most {
			manager, most = e.Manager, size
		}
	}
	return manager
}

// replacement is o in the place of live, with the labels and annotations of both.
func (a *Applier) replacement(o, live *unstructured.Unstructured) *unstructured.Unstructured {
	out := o.DeepCopy()
	for _, m := range []struct {
		get func(*unstructured.Unstructured) map[string]string
		set func(*unstructured.Unstructured, map[string]string)
	}{
		{(*unstructured.Unstructured).GetLabels, (*unstructured.Unstructured).SetLabels},
		{(*unstructured.Unstructured).GetAnnotations, (*unstructured.Unstructured).SetAnnotations},
	} {
		both := map[string]string{}
		maps.Copy(both, m.get(live))
		if a.Dropped != nil {
			maps.DeleteFunc(both, func(key, _ string) bool { return a.Dropped(key) })
		}
		maps.Copy(both, m.get(o))
		if len(both) > 0 {
			m.set(out, both)
		}
	}
	out.SetResourceVersion(live.GetResourceVersion())
	out.SetFinalizers(live.GetFinalizers())
	out.SetOwnerReferences(live.GetOwnerReferences())
	return out
}

// accountTimeout is how long the default service account of a new namespace
// may take.
const accountTimeout = 10 * time.Second

// awaitsAccount says whether a pod was refused because its namespace is so new
// that it has no service account yet.
func awaitsAccount(o *unstructured.Unstructured, err error) bool {
	return o.GroupVersionKind() == podKind && apierrors.IsForbidden(err) && strings.Contains(err.Error(), "error looking up service account")
}

var podKind = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}

// resource is where an object is written to. The kind of a definition that was
// just established may take a moment to be told.
func (a *Applier) resource(ctx context.Context, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	if gvr, ok := known[gvk]; ok {
		return a.client.Resource(gvr), nil
	}
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	for meta.IsNoMatchError(err) && ctx.Err() == nil {
		a.mapper.Reset()
		if mapping, err = a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err == nil || !a.defines(ctx, gvk) {
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", name(o), err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return a.client.Resource(mapping.Resource), nil
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return a.client.Resource(mapping.Resource).Namespace(namespace), nil
}

// known are the kinds that a test cluster is most often given: they need no
// discovery.
var known = map[schema.GroupVersionKind]schema.GroupVersionResource{
	{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}:               definitions,
	{Version: "v1", Kind: "Namespace"}:                                                             {Version: "v1", Resource: "namespaces"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"}:   {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}: {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// defines says whether a kind is one of a definition's.
func (a *Applier) defines(ctx context.Context, gvk schema.GroupVersionKind) bool {
	all, err := a.client.Resource(definitions).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(all.Items, func(crd unstructured.Unstructured) bool {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		return group == gvk.Group && kind == gvk.Kind
	})
}

// established waits until a definition's objects can be stored and discovery
// tells of them, without which no client finds them.
func (a *Applier) established(ctx context.Context, crd *unstructured.Unstructured) error {
	last := errors.New("it has no conditions")
	err := wait.PollUntilContextCancel(ctx, pause, true, func(ctx context.Context) (bool, error) {
		now, err := a.client.Resource(definitions).Get(ctx, crd.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, err
		}
		if err != nil {
			last = err
			return false, nil //nolint:nilerr // it is asked again
		}
		conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
		for _, c := range conditions {
			c, _ := c.(map[string]any)
			switch {
			case c["type"] == "Established" && c["status"] == "True":
				last = errors.New("discovery does not tell of it")
				return a.told(now), nil
			case c["type"] == "NamesAccepted" && c["status"] == "False":
				last = fmt.Errorf("%v: %v", c["reason"], c["message"])
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s to be established: %w", name(crd), errors.Join(err, last))
	}
	return nil
}

// told says whether discovery tells of a definition's objects in every version
// that is served.
func (a *Applier) told(crd *unstructured.Unstructured) bool {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	groups, err := a.served.ServerGroups()
	if err != nil {
		return false
	}
	for _, v := range versions {
		v, _ := v.(map[string]any)
		if v["served"] != true {
			continue
		}
		gv := fmt.Sprintf("%s/%v", group, v["name"])
		inGroups := slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool {
			return slices.ContainsFunc(g.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.GroupVersion == gv })
		})
		list, err := a.served.ServerResourcesForGroupVersion(gv)
		if err != nil || !inGroups || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == plural }) {
			return false
		}
	}
	return true
}

func name(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}
