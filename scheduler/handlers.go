package scheduler

import (
	"maps"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// deleted gives the object of a deletion, whose last state may be unknown.
func deleted[T any](obj any) (T, bool) {
	if d, ok := obj.(clientcache.DeletedFinalStateUnknown); ok {
		obj = d.Obj
	}
	t, ok := obj.(T)
	return t, ok
}

func (s *Scheduler) podHandler() clientcache.ResourceEventHandler {
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { s.setPod(nil, obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			before, pod := old.(*corev1.Pod), obj.(*corev1.Pod)
			if before.UID != pod.UID { // deleted and made anew between two looks
				s.removePod(before)
				before = nil
			}
			s.setPod(before, pod)
		},
		DeleteFunc: func(obj any) {
			if pod, ok := deleted[*corev1.Pod](obj); ok {
				s.removePod(pod)
			}
		},
	}
}

// setPod takes in a pod that the watch shows.
func (s *Scheduler) setPod(before, pod *corev1.Pod) {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		s.removePod(pod)
	case pod.Spec.NodeName != "":
		s.placed(pod)
	case pod.Spec.SchedulerName == s.cfg.SchedulerName:
		s.waiting(before, pod)
	}
}

// parse computes what the rules need. A pod whose affinity cannot be parsed
// still takes its room.
func (s *Scheduler) parse(pod *corev1.Pod) *cache.Pod {
	p, err := cache.NewPod(pod)
	if err != nil {
		klog.Background().Error(err, "Affinity of the pod is ignored", "pod", klog.KObj(pod))
	}
	return p
}

// placed takes in a pod on a node, ours or another scheduler's.
func (s *Scheduler) placed(pod *corev1.Pod) {
	p := s.parse(pod)
	old, _, assumed := s.cache.Pod(pod.UID)
	s.cache.SetPod(p)
	if old == nil || assumed {
		s.queue.Delete(pod.UID)
		s.promised.Remove(pod.UID)
		s.queue.Event(plugins.Event{Kind: plugins.PodPlaced, Pod: p})
		return
	}
	e := plugins.Event{Pod: p, OldPod: old}
	if !maps.Equal(old.Labels, p.Labels) {
		e.Kind = plugins.PodRelabeled
		s.queue.Event(e)
	}
	if p.Requests.MilliCPU < old.Requests.MilliCPU || p.Requests.Memory < old.Requests.Memory {
		e.Kind = plugins.PodShrunk
		s.queue.Event(e)
	}
}

// waiting takes in a pod that needs a node.
func (s *Scheduler) waiting(before, pod *corev1.Pod) {
	if on, _, _ := s.cache.Pod(pod.UID); on != nil {
		return // we have decided; the watch has yet to show it
	}
	p := s.parse(pod)
	switch node := pod.Status.NominatedNodeName; {
	case node != "":
		s.promised.Set(p, node)
	case before != nil && before.Status.NominatedNodeName != "":
		if s.promised.Remove(pod.UID) != "" {
			s.queue.Event(plugins.Event{Kind: plugins.PodRemoved, Pod: p})
		}
	default:
		// A promise that we have made and not yet written stays.
		if node := s.promised.Of(pod.UID); node != "" {
			s.promised.Set(p, node)
		}
	}
	s.queue.Add(p)
	s.noteGates(p)
}

// removePod forgets a pod that is gone or has ended.
func (s *Scheduler) removePod(pod *corev1.Pod) {
	s.queue.Delete(pod.UID)
	s.statuses.forget(pod.UID)
	promised := s.promised.Remove(pod.UID) != ""
	p, _, _ := s.cache.Pod(pod.UID)
	if s.cache.RemovePod(pod.UID) || promised {
		if p == nil {
			p = s.parse(pod)
		}
		s.queue.Event(plugins.Event{Kind: plugins.PodRemoved, Pod: p})
	}
}

func (s *Scheduler) nodeHandler() clientcache.ResourceEventHandler {
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			node := obj.(*corev1.Node)
			s.cache.SetNode(node)
			s.queue.Event(plugins.Event{Kind: plugins.NodeAdded, Node: node})
		},
		UpdateFunc: func(old, obj any) {
			node := obj.(*corev1.Node)
			s.cache.SetNode(node)
			if kind := nodeChanges(old.(*corev1.Node), node); kind != 0 {
				s.queue.Event(plugins.Event{Kind: kind, Node: node})
			}
		},
		DeleteFunc: func(obj any) {
			if node, ok := deleted[*corev1.Node](obj); ok {
				s.cache.RemoveNode(node.Name)
			}
		},
	}
}

// nodeChanges says what of a node changed that rules wait for. Most updates
// are heartbeats, and change nothing of it.
func nodeChanges(old, node *corev1.Node) (kind plugins.Kind) {
	if !apiequality.Semantic.DeepEqual(old.Status.Allocatable, node.Status.Allocatable) {
		kind |= plugins.NodeAllocatable
	}
	if !maps.Equal(old.Labels, node.Labels) {
		kind |= plugins.NodeLabels
	}
	if old.Spec.Unschedulable != node.Spec.Unschedulable || !reflect.DeepEqual(old.Spec.Taints, node.Spec.Taints) {
		kind |= plugins.NodeTaints
	}
	return kind
}

func (s *Scheduler) namespaceHandler() clientcache.ResourceEventHandler {
	return clientcache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, obj any) {
			if !maps.Equal(old.(*corev1.Namespace).Labels, obj.(*corev1.Namespace).Labels) {
				s.queue.Event(plugins.Event{Kind: plugins.NamespaceLabels})
			}
		},
	}
}

func (s *Scheduler) claimHandler() clientcache.ResourceEventHandler {
	set := func(obj any) {
		s.volumes.announce()
		s.queue.Event(plugins.Event{Kind: plugins.ClaimChanged, Claim: obj.(*corev1.PersistentVolumeClaim)})
	}
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(any) { s.volumes.announce() },
	}
}

func (s *Scheduler) volumeHandler() clientcache.ResourceEventHandler {
	set := func() { s.queue.Event(plugins.Event{Kind: plugins.VolumeChanged}) }
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { set() },
		UpdateFunc: func(_, _ any) { set() },
	}
}

func (s *Scheduler) classHandler() clientcache.ResourceEventHandler {
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.queue.Event(plugins.Event{Kind: plugins.ClassChanged}) },
		UpdateFunc: func(old, obj any) {
			if !reflect.DeepEqual(old.(*storagev1.StorageClass).AllowedTopologies, obj.(*storagev1.StorageClass).AllowedTopologies) {
				s.queue.Event(plugins.Event{Kind: plugins.ClassChanged})
			}
		},
	}
}
