package scheduler

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/scheduler/cycle"
)

// sources are the watches. Kinds that the API server does not serve are taken
// to have no objects.
type sources struct {
	client  kubernetes.Interface
	factory informers.SharedInformerFactory
	pods    cache.SharedIndexInformer
	nodes   cache.SharedIndexInformer
	served  map[string]bool // "group/version/resource"
	handled []cache.ResourceEventHandlerRegistration
}

func newSources(client kubernetes.Interface) *sources {
	src := &sources{client: client, served: map[string]bool{}}
	src.factory = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	src.pods = src.factory.InformerFor(&corev1.Pod{}, func(c kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		live := fields.AndSelectors(
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
		).String()
		return coreinformers.NewFilteredPodInformer(c, metav1.NamespaceAll, resync,
			cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
			func(o *metav1.ListOptions) { o.FieldSelector = live })
	})
	src.nodes = src.factory.Core().V1().Nodes().Informer()
	return src
}

// trim drops what no rule reads, which is most of a controller.
func trim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	switch o := obj.(type) {
	case *appsv1.ReplicaSet:
		o.Spec.Template, o.Status = corev1.PodTemplateSpec{}, appsv1.ReplicaSetStatus{}
	case *appsv1.StatefulSet:
		o.Spec.Template, o.Spec.VolumeClaimTemplates, o.Status = corev1.PodTemplateSpec{}, nil, appsv1.StatefulSetStatus{}
	case *corev1.ReplicationController:
		o.Spec.Template, o.Status = nil, corev1.ReplicationControllerStatus{}
	}
	return obj, nil
}

// start starts the watches. It waits for the API server to answer.
func (src *sources) start(ctx context.Context, s *Scheduler) error {
	if err := src.discover(ctx); err != nil {
		return err
	}
	f := src.factory
	if err := src.handle(src.pods, s.podHandler()); err != nil {
		return err
	}
	if err := src.handle(src.nodes, s.nodeHandler()); err != nil {
		return err
	}
	type optional struct {
		resource string
		informer func() cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}
	for _, o := range []optional{
		{"v1/namespaces", func() cache.SharedIndexInformer { return f.Core().V1().Namespaces().Informer() }, s.namespaceHandler()},
		{"v1/services", func() cache.SharedIndexInformer { return f.Core().V1().Services().Informer() }, nil},
		{"v1/replicationcontrollers", func() cache.SharedIndexInformer { return f.Core().V1().ReplicationControllers().Informer() }, nil},
		{"v1/persistentvolumeclaims", func() cache.SharedIndexInformer { return f.Core().V1().PersistentVolumeClaims().Informer() }, s.claimHandler()},
		{"v1/persistentvolumes", func() cache.SharedIndexInformer { return f.Core().V1().PersistentVolumes().Informer() }, s.volumeHandler()},
		{"apps/v1/replicasets", func() cache.SharedIndexInformer { return f.Apps().V1().ReplicaSets().Informer() }, nil},
		{"apps/v1/statefulsets", func() cache.SharedIndexInformer { return f.Apps().V1().StatefulSets().Informer() }, nil},
		{"storage.k8s.io/v1/storageclasses", func() cache.SharedIndexInformer { return f.Storage().V1().StorageClasses().Informer() }, s.classHandler()},
		{"policy/v1/poddisruptionbudgets", func() cache.SharedIndexInformer { return f.Policy().V1().PodDisruptionBudgets().Informer() }, nil},
	} {
		if !src.served[o.resource] {
			continue
		}
		informer := o.informer() // asking for it makes the factory start it
		if o.handler == nil {
			continue
		}
		if err := src.handle(informer, o.handler); err != nil {
			return err
		}
	}
	f.StartWithContext(ctx)
	return nil
}

func (src *sources) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) error {
	registration, err := informer.AddEventHandler(handler)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	src.handled = append(src.handled, registration)
	return nil
}

// discover asks which of the optional kinds are served.
func (src *sources) discover(ctx context.Context) error {
	for _, gv := range []string{"v1", "apps/v1", "storage.k8s.io/v1", "policy/v1"} {
		var list *metav1.APIResourceList
		err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			var err error
			list, err = src.client.Discovery().ServerResourcesForGroupVersion(gv)
			if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
				return false, err
			}
			return err == nil || apierrors.IsNotFound(err), nil
		})
		if err != nil {
			return fmt.Errorf("ask for the kinds of %s: %w", gv, err)
		}
		if list == nil {
			continue
		}
		for _, r := range list.APIResources {
			src.served[gv+"/"+r.Name] = true
		}
	}
	return nil
}

// sync waits until the cache and the queue hold all that there was.
func (src *sources) sync(ctx context.Context) bool {
	for _, ok := range src.factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return false
		}
	}
	for _, r := range src.handled {
		// It waits without asking again and again: a start is shorter than
		// the tenth of a second between two questions.
		if !cache.WaitFor(ctx, "", r.HasSyncedChecker()) {
			return false
		}
	}
	return true
}

func (src *sources) stop() { src.factory.Shutdown() }

// lookup is how the rules see what is watched.
func (s *Scheduler) lookup() cycle.Lookup {
	return cycle.Lookup{
		Namespace: s.sources.namespace,
		Selector:  s.sources.selector,
		Claim:     s.sources.claim,
		Volume:    s.sources.volume,
		Volumes:   s.sources.volumes,
		Class:     s.sources.class,
		Taken:     s.volumes.takenBy,
	}
}

func (src *sources) namespace(name string) labels.Set {
	if !src.served["v1/namespaces"] {
		return nil
	}
	ns, err := src.factory.Core().V1().Namespaces().Lister().Get(name)
	if err != nil {
		return nil // not there
	}
	return ns.Labels
}

func (src *sources) claim(namespace, name string) *corev1.PersistentVolumeClaim {
	if !src.served["v1/persistentvolumeclaims"] {
		return nil
	}
	claim, err := src.factory.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil
	}
	return claim
}

func (src *sources) volume(name string) *corev1.PersistentVolume {
	if !src.served["v1/persistentvolumes"] {
		return nil
	}
	volume, err := src.factory.Core().V1().PersistentVolumes().Lister().Get(name)
	if err != nil {
		return nil
	}
	return volume
}

func (src *sources) volumes() []*corev1.PersistentVolume {
	if !src.served["v1/persistentvolumes"] {
		return nil
	}
	list, err := src.factory.Core().V1().PersistentVolumes().Lister().List(labels.Everything())
	if err != nil {
		return nil
	}
	return list
}

func (src *sources) class(name string) *storagev1.StorageClass {
	if name == "" || !src.served["storage.k8s.io/v1/storageclasses"] {
		return nil
	}
	class, err := src.factory.Storage().V1().StorageClasses().Lister().Get(name)
	if err != nil {
		return nil
	}
	return class
}

func (src *sources) budgets() []*policyv1.PodDisruptionBudget {
	if !src.served["policy/v1/poddisruptionbudgets"] {
		return nil
	}
	list, err := src.factory.Policy().V1().PodDisruptionBudgets().Lister().List(labels.Everything())
	if err != nil {
		return nil
	}
	return list
}

// pod gives the newest version of a pod that the watch has shown, or nil.
func (src *sources) pod(p *corev1.Pod) *corev1.Pod {
	obj, exists, err := src.pods.GetStore().GetByKey(p.Namespace + "/" + p.Name)
	if err != nil || !exists {
		return nil
	}
	if pod := obj.(*corev1.Pod); pod.UID == p.UID {
		return pod
	}
	return nil
}

// selector gives what selects the pods like this one: the Services' selectors
// that match it and its controller's, together; nil without any.
func (src *sources) selector(p *corev1.Pod) labels.Selector {
	set := labels.Set{}
	if src.served["v1/services"] {
		services, err := src.factory.Core().V1().Services().Lister().Services(p.Namespace).List(labels.Everything())
		if err != nil {
			return nil
		}
		for _, service := range services {
			if len(service.Spec.Selector) > 0 && labels.Set(service.Spec.Selector).AsSelectorPreValidated().Matches(labels.Set(p.Labels)) {
				set = labels.Merge(set, service.Spec.Selector)
			}
		}
	}
	controller, more := src.controllerSelector(p)
	set = labels.Merge(set, controller)
	selector := labels.NewSelector()
	if len(set) > 0 {
		selector = set.AsSelectorPreValidated()
	}
	if more != nil {
		if requirements, selectable := more.Requirements(); selectable {
			selector = selector.Add(requirements...)
		}
	}
	if selector.Empty() {
		return nil
	}
	return selector
}

// controllerSelector gives the selector of the pod's controller as plain
// labels or, when there is more to it, as a selector.
func (src *sources) controllerSelector(p *corev1.Pod) (labels.Set, labels.Selector) {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return nil, nil
	}
	var selector *metav1.LabelSelector
	switch owner.APIVersion + "/" + owner.Kind {
	case "v1/ReplicationController":
		if src.served["v1/replicationcontrollers"] {
			if rc, err := src.factory.Core().V1().ReplicationControllers().Lister().ReplicationControllers(p.Namespace).Get(owner.Name); err == nil {
				return rc.Spec.Selector, nil
			}
		}
	case "apps/v1/ReplicaSet":
		if src.served["apps/v1/replicasets"] {
			if rs, err := src.factory.Apps().V1().ReplicaSets().Lister().ReplicaSets(p.Namespace).Get(owner.Name); err == nil {
				selector = rs.Spec.Selector
			}
		}
	case "apps/v1/StatefulSet":
		if src.served["apps/v1/statefulsets"] {
			if set, err := src.factory.Apps().V1().StatefulSets().Lister().StatefulSets(p.Namespace).Get(owner.Name); err == nil {
				selector = set.Spec.Selector
			}
		}
	}
	if selector == nil {
		return nil, nil
	}
	if len(selector.MatchExpressions) == 0 {
		return selector.MatchLabels, nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil { // the API server lets no such selector pass
		return nil, nil
	}
	return nil, parsed
}
