package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
)

// Objects reads what the plugins need.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Node(ctx context.Context, name string) (*corev1.Node, error)
	PriorityClass(ctx context.Context, name string) (*schedulingv1.PriorityClass, error)
	PriorityClasses(ctx context.Context) ([]schedulingv1.PriorityClass, error)
	Namespace(ctx context.Context, name string) (*corev1.Namespace, error)
	Pods(ctx context.Context, namespace string) ([]corev1.Pod, error)
	LimitRanges(ctx context.Context, namespace string) ([]corev1.LimitRange, error)
	RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error)
	StorageClasses(ctx context.Context) ([]storagev1.StorageClass, error)
	IngressClasses(ctx context.Context) ([]networkingv1.IngressClass, error)
}

// Config says which plugins run.
type Config struct {
	Objects   Objects
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// REST is the server as its own client, for kinds that Client does not
	// know.
	REST       *restclient.Config
	Authorizer authorizer.UnconditionalAuthorizer
	// Services says where a service is, for webhooks in the cluster.
	Services webhook.ServiceResolver
	// Dial reaches them; nil is TCP.
	Dial utilnet.DialFunc
	// Presence says whether a resource has objects.
	Presence func(schema.GroupResource) Presence
	// Stop ends what plugins run in the background.
	Stop <-chan struct{}
	// Metrics measures each plugin, some 0.4 µs each time that one is asked.
	Metrics bool
	// Enable and Disable change the default set, as --enable-admission-plugins
	// and --disable-admission-plugins.
	Enable, Disable []string
	// File is an AdmissionConfiguration, as --admission-control-config-file
	// names it; none when empty.
	File string
	// NotReadySeconds and UnreachableSeconds are DefaultTolerationSeconds'; nil
	// is 300.
	NotReadySeconds, UnreachableSeconds *int64
	// ServerID names this server among others, in metrics.
	ServerID string
	// Documents are the versions of the OpenAPI documents of groups by their
	// paths, "apis/apps/v1".
	Documents func() map[string]string
	// Version of Kubernetes that the server is like, "v1.37.2".
	Version string

	configuration configuration // what File says
	starting      bool          // no informer has anything yet
}

// plugin is one of the chain, by its upstream name.
type plugin struct {
	name string
	make func(Config) (admission.Interface, error)
	off  bool     // unless it is enabled
	on   []string // the resources that it looks at, with their subresources; all when none is named
}

// simple is a plugin that needs nothing.
func simple(p admission.Interface) func(Config) (admission.Interface, error) {
	return func(Config) (admission.Interface, error) { return p, nil }
}

// plugins in the order in which they run, which is kube-apiserver's. Those of a
// feature that is off there by default (PodGroupProtection) do nothing there
// either, as AlwaysAdmit does.
var plugins = []plugin{
	{name: "AlwaysAdmit", make: simple(admission.NewChainHandler()), off: true},
	{name: "NamespaceAutoProvision", make: func(c Config) (admission.Interface, error) { return autoProvision{c.Objects, c.Client}, nil }, off: true},
	{name: lifecycle.PluginName, make: newLifecycle},
	{name: "NamespaceExists", make: func(c Config) (admission.Interface, error) { return namespaceExists{c.Objects}, nil }, off: true},
	{name: "LimitPodHardAntiAffinityTopology", on: []string{"pods"}, make: simple(antiAffinity{}), off: true},
	{name: "LimitRanger", on: []string{"pods", "persistentvolumeclaims"}, make: func(c Config) (admission.Interface, error) { return &limitRanger{c.Objects}, nil }},
	{name: "ServiceAccount", on: []string{"pods"}, make: func(c Config) (admission.Interface, error) { return &serviceAccount{c.Objects}, nil }},
	{name: "NodeRestriction", make: func(c Config) (admission.Interface, error) { return &nodeRestriction{c.Objects, c.Authorizer}, nil }},
	{name: "TaintNodesByCondition", on: []string{"nodes"}, make: simple(taintNodes{})},
	{name: "AlwaysPullImages", on: []string{"pods"}, make: simple(alwaysPull{}), off: true},
	{name: "ImagePolicyWebhook", on: []string{"pods"}, make: newImagePolicy, off: true},
	{name: "PodSecurity", make: newPodSecurity},
	{name: "PodNodeSelector", on: []string{"pods"}, make: newPodSelector, off: true},
	{name: "Priority", on: []string{"pods", "priorityclasses"}, make: func(c Config) (admission.Interface, error) { return &priority{c.Objects}, nil }},
	{name: "DefaultTolerationSeconds", on: []string{"pods"}, make: newTolerationSeconds},
	{name: "PodTolerationRestriction", on: []string{"pods"}, make: newPodTolerations, off: true},
	{name: "EventRateLimit", make: newEventRate, off: true},
	{name: "ExtendedResourceToleration", on: []string{"pods"}, make: simple(extendedResources{}), off: true},
	{name: "DefaultStorageClass", on: []string{"persistentvolumeclaims"}, make: func(c Config) (admission.Interface, error) { return storageClass{c.Objects}, nil }},
	{name: "StorageObjectInUseProtection", on: []string{"persistentvolumes", "persistentvolumeclaims", "volumeattributesclasses"}, make: simple(inUse{})},
	{name: "PodGroupProtection", make: simple(admission.NewChainHandler()), off: true},
	{name: "OwnerReferencesPermissionEnforcement", make: newOwnerReferences, off: true},
	{name: "PersistentVolumeClaimResize", on: []string{"persistentvolumeclaims"}, make: func(c Config) (admission.Interface, error) { return claimResize{c.Objects}, nil }},
	{name: "RuntimeClass", on: []string{"pods"}, make: func(c Config) (admission.Interface, error) { return runtimeClass{c.Objects}, nil }},
	{name: "CertificateApproval", on: []string{certificateRequests}, make: func(c Config) (admission.Interface, error) { return certificateApproval{c.Authorizer}, nil }},
	{name: "CertificateSigning", on: []string{certificateRequests, podCertificateRequests}, make: func(c Config) (admission.Interface, error) { return certificateSigning{c.Authorizer}, nil }},
	{name: "ClusterTrustBundleAttest", on: []string{"clustertrustbundles"}, make: func(c Config) (admission.Interface, error) { return trustBundleAttest{authorizer: c.Authorizer}, nil }},
	{name: "CertificateSubjectRestriction", on: []string{certificateRequests}, make: simple(certificateSubject{})},
	{name: "DefaultIngressClass", on: []string{"ingresses"}, make: func(c Config) (admission.Interface, error) { return ingressClass{c.Objects}, nil }},
	{name: "DenyServiceExternalIPs", on: []string{"services"}, make: simple(externalIPs{}), off: true},
	{name: "PodTopologyLabels", on: []string{"pods"}, make: func(c Config) (admission.Interface, error) { return podTopology{c.Objects}, nil }},
	{name: "NodeDeclaredFeatureValidator", on: []string{"pods"}, make: newNodeFeatures},
	{name: "PodResizeValidator", on: []string{"pods"}, make: func(c Config) (admission.Interface, error) { return podResize{c.Objects}, nil }},
	{name: "MutatingAdmissionPolicy", make: newMutatingPolicy},
	{name: "MutatingAdmissionWebhook", make: newMutatingWebhook},
	{name: "ValidatingAdmissionPolicy", make: newValidatingPolicy},
	{name: "ValidatingAdmissionWebhook", make: newValidatingWebhook},
	{name: "ResourceQuota", make: newQuota},
	{name: "AlwaysDeny", make: simple(alwaysDeny{}), off: true},
}

// Defaults are the plugins that run unless they are disabled.
func Defaults() []string {
	var names []string
	for _, p := range plugins {
		if !p.off {
			names = append(names, p.name)
		}
	}
	return names
}

// Names are the plugins that there are.
func Names() []string {
	var names []string
	for _, p := range plugins {
		names = append(names, p.name)
	}
	return names
}

// New gives the chain.
func New(c Config) (admission.Interface, error) {
	if err := checkNames(c.Enable, c.Disable); err != nil {
		return nil, err
	}
	var err error
	if c.configuration, err = readConfiguration(c.File); err != nil {
		return nil, err
	}
	var chain []admission.Interface
	for _, p := range plugins {
		if slices.Contains(c.Disable, p.name) || p.off && !slices.Contains(c.Enable, p.name) {
			continue
		}
		h, err := p.make(c)
		if err != nil {
			return nil, fmt.Errorf("admission plugin %s: %w", p.name, err)
		}
		if c.Metrics {
			h = admissionmetrics.WithControllerMetrics(h, p.name)
		}
		if len(p.on) > 0 {
			h = concerned{h, p.on}
		}
		chain = append(chain, h)
	}
	return admissionmetrics.WithStepMetrics(again{admission.NewChainHandler(chain...)}), nil
}

// concerned asks a plugin about some resources only: others cost it nothing, nor
// its metrics.
type concerned struct {
	admission.Interface
	on []string
}

// Admit implements admission.MutationInterface.
func (c concerned) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if m, ok := c.Interface.(admission.MutationInterface); ok && slices.Contains(c.on, a.GetResource().Resource) {
		return m.Admit(ctx, a, o)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (c concerned) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if v, ok := c.Interface.(admission.ValidationInterface); ok && slices.Contains(c.on, a.GetResource().Resource) {
		return v.Validate(ctx, a, o)
	}
	return nil
}

// checkNames says what is wrong with the flags, in kube-apiserver's words.
func checkNames(enable, disable []string) error {
	var errs []error
	known := Names()
	for _, list := range []struct {
		flag  string
		names []string
	}{{"enable-admission-plugins", enable}, {"disable-admission-plugins", disable}} {
		for _, name := range list.names {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("%s plugin %q is unknown", list.flag, name))
			}
		}
	}
	if both := sets.List(sets.New(enable...).Intersection(sets.New(disable...))); len(both) > 0 {
		errs = append(errs, fmt.Errorf("%v in enable-admission-plugins and disable-admission-plugins overlapped", both))
	}
	return utilerrors.NewAggregate(errs)
}

// alwaysDeny refuses every change.
type alwaysDeny struct{}

func (alwaysDeny) Handles(admission.Operation) bool { return true }

// Validate implements admission.ValidationInterface.
func (alwaysDeny) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	return admission.NewForbidden(a, errors.New("admission control is denying all modifications"))
}

// again runs the changing plugins a second time when one of them changed an
// object after others that want to see its last form.
type again struct{ chain admission.Interface }

func (r again) Handles(op admission.Operation) bool { return r.chain.Handles(op) }

// Admit implements admission.MutationInterface.
func (r again) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	m, ok := r.chain.(admission.MutationInterface)
	if !ok {
		return nil
	}
	if err := m.Admit(ctx, a, o); err != nil {
		return err
	}
	if re := a.GetReinvocationContext(); re.ShouldReinvoke() {
		re.SetIsReinvoke()
		return m.Admit(ctx, a, o)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (r again) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if v, ok := r.chain.(admission.ValidationInterface); ok {
		return v.Validate(ctx, a, o)
	}
	return nil
}

// newLifecycle refuses objects in namespaces that do not exist or that end,
// and the deletion of those that the cluster needs.
func newLifecycle(c Config) (admission.Interface, error) {
	l, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease))
	if err != nil {
		return nil, err
	}
	l.SetExternalKubeInformerFactory(c.Informers)
	l.SetExternalKubeClientSet(c.Client)
	return l, l.ValidateInitialization()
}

// of gives the object of a request as a *T when the request is for a resource
// itself, not a subresource.
func of[T any](a admission.Attributes, resource string) (*T, bool) {
	if a.GetSubresource() != "" || a.GetResource().Resource != resource {
		return nil, false
	}
	t, ok := any(a.GetObject()).(*T)
	return t, ok
}
