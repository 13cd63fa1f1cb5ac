package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// Objects reads what the plugins need.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	PriorityClass(ctx context.Context, name string) (*schedulingv1.PriorityClass, error)
	PriorityClasses(ctx context.Context) ([]schedulingv1.PriorityClass, error)
}

// Config says which plugins run.
type Config struct {
	Objects   Objects
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Enable and Disable change the default set, as --enable-admission-plugins
	// and --disable-admission-plugins.
	Enable, Disable []string
}

// plugin is one of the chain, by its upstream name.
type plugin struct {
	name string
	make func(Config) (admission.Interface, error)
}

// plugins in the order in which they run.
var plugins = []plugin{
	{lifecycle.PluginName, newLifecycle},
	{"ServiceAccount", func(c Config) (admission.Interface, error) { return &serviceAccount{c.Objects}, nil }},
	{"NodeRestriction", func(c Config) (admission.Interface, error) { return &nodeRestriction{c.Objects}, nil }},
	{"TaintNodesByCondition", func(Config) (admission.Interface, error) { return taintNodes{}, nil }},
	{"Priority", func(c Config) (admission.Interface, error) { return &priority{c.Objects}, nil }},
	{"DefaultTolerationSeconds", func(Config) (admission.Interface, error) { return tolerationSeconds{}, nil }},
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
	for _, list := range [][]string{c.Enable, c.Disable} {
		for _, name := range list {
			if !slices.Contains(Names(), name) {
				return nil, fmt.Errorf("admission plugin %q is unknown; there are %v", name, Names())
			}
		}
	}
	var chain []admission.Interface
	for _, p := range plugins {
		if slices.Contains(c.Disable, p.name) {
			continue
		}
		h, err := p.make(c)
		if err != nil {
			return nil, fmt.Errorf("admission plugin %s: %w", p.name, err)
		}
		chain = append(chain, h)
	}
	return admission.NewChainHandler(chain...), nil
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
