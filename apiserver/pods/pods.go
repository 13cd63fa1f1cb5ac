package pods

import (
	"context"
	"fmt"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/api/core"
)

// Deps is what the subresources need.
type Deps struct {
	// Pods is the store of pods.
	Pods *genericregistry.Store
	// Node reads a node.
	Node func(ctx context.Context, name string) (*corev1.Node, error)
	// Agents reaches node agents over TLS with the server's client
	// certificate.
	Agents http.RoundTripper
	// Dial reaches pods.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Authorizer says whether a stream may be opened by a GET.
	Authorizer authorizer.UnconditionalAuthorizer
	// Budgets is the store of PodDisruptionBudgets.
	Budgets *genericregistry.Store
}

// New gives the storage of the subresources by path.
func New(d Deps) map[string]rest.Storage {
	return map[string]rest.Storage{
		"pods/binding":             &binding{d},
		"bindings":                 topBinding{&binding{d}},
		"pods/eviction":            &eviction{d},
		"pods/ephemeralcontainers": newEdit(d.Pods, part{core.PrepareEphemeralContainersUpdate, core.ValidateEphemeralContainersUpdate}),
		"pods/resize":              newEdit(d.Pods, part{core.PrepareResizeUpdate, core.ValidateResizeUpdate}),
		"pods/log":                 &log{d},
		"pods/exec":                &connect{d, "exec", func() runtime.Object { return &corev1.PodExecOptions{} }},
		"pods/attach":              &connect{d, "attach", func() runtime.Object { return &corev1.PodAttachOptions{} }},
		"pods/portforward":         &connect{d, "portForward", func() runtime.Object { return &corev1.PodPortForwardOptions{} }},
		"pods/proxy":               &proxy{d},
		"nodes/proxy":              &nodeProxy{d},
	}
}

func (d Deps) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	obj, err := d.Pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

// binding assigns a pod to a node, once.
type binding struct{ Deps }

func (b *binding) New() runtime.Object { return &corev1.Binding{} }
func (b *binding) Destroy()            {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate implements
// rest.SubresourceObjectMetaPreserver: UID and version of a binding are those
// that the pod must have.
func (b *binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create implements rest.NamedCreater.
func (b *binding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	bind, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != bind.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := core.ValidateBinding(bind); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Binding"}, name, errs)
	}
	if validate != nil {
		if err := validate(ctx, bind.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := b.assign(ctx, bind, o); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

// topBinding is the same at the top of a namespace, as the first API had it.
type topBinding struct{ *binding }

func (t topBinding) NamespaceScoped() bool   { return true }
func (t topBinding) GetSingularName() string { return "binding" }

// Create implements rest.Creater.
func (t topBinding) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return t.binding.Create(ctx, m.GetName(), obj, validate, o)
}

func (b *binding) assign(ctx context.Context, bind *corev1.Binding, o *metav1.CreateOptions) error {
	var pre *metav1.Preconditions
	if bind.UID != "" || bind.ResourceVersion != "" {
		pre = &metav1.Preconditions{}
		if bind.UID != "" {
			pre.UID = &bind.UID
		}
		if bind.ResourceVersion != "" {
			pre.ResourceVersion = &bind.ResourceVersion
		}
	}
	store := *b.Pods
	store.UpdateStrategy = asGiven{b.Pods.UpdateStrategy}
	_, _, err := store.Update(ctx, bind.Name, &bindUpdate{bind, pre}, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false,
		&metav1.UpdateOptions{DryRun: dryRun(o)})
	return err
}

func dryRun(o *metav1.CreateOptions) []string {
	if o == nil {
		return nil
	}
	return o.DryRun
}

// bindUpdate changes the pod that a binding names.
type bindUpdate struct {
	bind *corev1.Binding
	pre  *metav1.Preconditions
}

func (u *bindUpdate) Preconditions() *metav1.Preconditions { return u.pre }

func (u *bindUpdate) UpdatedObject(_ context.Context, old runtime.Object) (runtime.Object, error) {
	pod := old.(*corev1.Pod).DeepCopy()
	switch {
	case pod.DeletionTimestamp != nil:
		return nil, conflict(pod.Name, "pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return nil, conflict(pod.Name, "pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return nil, conflict(pod.Name, "pod %s has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = u.bind.Target.Name
	for k, v := range u.bind.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, k, v)
	}
	for k, v := range u.bind.Labels {
		metav1.SetMetaDataLabel(&pod.ObjectMeta, k, v)
	}
	setCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: pod.Generation})
	return pod, nil
}

func conflict(name, format string, args ...any) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, name, fmt.Errorf(format, args...))
}

func setCondition(pod *corev1.Pod, c corev1.PodCondition) {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == c.Type {
			pod.Status.Conditions[i] = c
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}

// asGiven lets an update of the server's own change what it wants: the stored
// object is valid, and so is what the server writes into it.
type asGiven struct{ rest.RESTUpdateStrategy }

func (asGiven) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}

func (asGiven) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (asGiven) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
