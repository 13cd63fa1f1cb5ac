package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/network/policy"
)

const (
	// policyDelay gathers changes that come together.
	policyDelay = 20 * time.Millisecond
	// policyCheck is how often the kernel's table is looked for.
	policyCheck = time.Minute
	// policyPatience is how long a pod's start waits for the policies to be known.
	policyPatience = 10 * time.Second
)

// policies enforces NetworkPolicies on the pods of this node. Pods and
// namespaces are watched from the first policy on.
type policies struct {
	client kubernetes.Interface
	node   string
	table  *policy.Table

	wake   chan struct{}
	known  chan struct{} // closed when policies are, and what they select
	needed chan struct{} // closed by the first policy

	mu    sync.Mutex // guards what follows, and the table
	model *policy.Model
	// connected are this node's pods since the agent's start: their addresses
	// are known here before the API tells of them.
	connected map[types.NamespacedName]connectedPod
	state     tableState
}

// tableState is what is known of the table in the kernel.
type tableState int

const (
	unknown tableState = iota
	absent
	present
)

type connectedPod struct {
	uid     types.UID
	version string // of the Pod when it was connected
	ips     []netip.Addr
}

// olderThan tells whether another pod of its name came after this one.
func (c connectedPod) olderThan(pod *corev1.Pod) bool {
	order, err := resourceversion.CompareResourceVersion(c.version, pod.ResourceVersion)
	return err == nil && order < 0
}

func newPolicies(client kubernetes.Interface, node, table string) *policies {
	return &policies{
		client: client, node: node, table: policy.NewTable(table), wake: make(chan struct{}, 1),
		known: make(chan struct{}), needed: make(chan struct{}), model: policy.NewModel(), connected: map[types.NamespacedName]connectedPod{},
	}
}

// protect isolates a pod that has just been connected, before anything runs in
// it.
func (p *policies) protect(ctx context.Context, pod *corev1.Pod, ips []netip.Addr) error {
	select {
	case <-p.known:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(policyPatience):
		return errors.New("network policies are not known yet: the API server does not tell of networkpolicies, pods and namespaces")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := keyOf(pod)
	p.connected[key] = connectedPod{pod.UID, pod.ResourceVersion, ips}
	if p.model.Empty() {
		return nil
	}
	p.setPod(pod)
	return p.write()
}

// run follows policies, and pods and namespaces once there are any, until ctx
// ends. The table stays: a restart of the agent opens nothing.
func (p *policies) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { p.keep(ctx) })
	all := p.client.NetworkingV1().NetworkPolicies(metav1.NamespaceAll)
	first := follow(ctx, &running, &networkingv1.NetworkPolicy{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) }, all.Watch,
		p.changed(func(obj any) { p.setPolicy(ctx, obj.(*networkingv1.NetworkPolicy)) }, func(obj any) {
			p.model.DeletePolicy(keyOf(obj.(*networkingv1.NetworkPolicy)))
		}))
	if !wait(ctx, first) {
		return nil
	}
	p.mu.Lock()
	none := p.model.Empty()
	p.mu.Unlock()
	if none {
		// What an earlier agent enforced is no policy any more.
		p.poke()
		close(p.known)
	}
	if !wait(ctx, p.needed) {
		return nil
	}
	namespaces, pods := p.client.CoreV1().Namespaces(), p.client.CoreV1().Pods(metav1.NamespaceAll)
	second := follow(ctx, &running, &corev1.Namespace{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return namespaces.List(ctx, o)
		}, namespaces.Watch,
		p.changed(func(obj any) { p.model.SetNamespace(obj.(*corev1.Namespace).Name, obj.(*corev1.Namespace).Labels) },
			func(obj any) { p.model.DeleteNamespace(obj.(*corev1.Namespace).Name) }))
	third := follow(ctx, &running, &corev1.Pod{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) }, pods.Watch,
		p.changed(func(obj any) { p.setPod(obj.(*corev1.Pod)) }, func(obj any) { p.deletePod(obj.(*corev1.Pod)) }))
	if wait(ctx, second) && wait(ctx, third) && !none {
		close(p.known)
	}
	p.poke()
	<-ctx.Done()
	return nil
}

// follow runs an informer and closes what it gives when its first list has been
// handled.
func follow(ctx context.Context, running *sync.WaitGroup, kind runtime.Object, list cache.ListWithContextFunc,
	watchFunc func(context.Context, metav1.ListOptions) (watch.Interface, error), h cache.ResourceEventHandler,
) <-chan struct{} {
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: watchFunc},
		ObjectType:    kind, Handler: h, Transform: onlyPolicyMatters,
	})
	running.Go(func() { informer.RunWithContext(ctx) })
	synced := make(chan struct{})
	running.Go(func() {
		for !informer.HasSynced() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
		close(synced)
	})
	return synced
}

func wait(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// changed makes a handler that works on the model and has it written.
func (p *policies) changed(set, remove func(obj any)) cache.ResourceEventHandler {
	locked := func(f func(any), obj any) {
		p.mu.Lock()
		f(obj)
		p.mu.Unlock()
		p.poke()
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { locked(set, obj) },
		UpdateFunc: func(_, obj any) { locked(set, obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			locked(remove, obj)
		},
	}
}

func (p *policies) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// keep writes what has changed, and looks from time to time whether it is
// still there.
func (p *policies) keep(ctx context.Context) {
	if !wait(ctx, p.known) {
		return
	}
	check := time.NewTicker(policyCheck)
	defer check.Stop()
	for {
		var again <-chan time.Time
		p.mu.Lock()
		err := p.write()
		p.mu.Unlock()
		if err != nil {
			klog.FromContext(ctx).Error(err, "Writing network policies")
			again = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-check.C:
			p.mu.Lock()
			if err := p.table.Check(); err != nil {
				klog.FromContext(ctx).Error(err, "Checking network policies")
			}
			p.mu.Unlock()
		case <-p.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(policyDelay):
			}
		}
	}
}

// write puts the model into the kernel; p.mu is held.
func (p *policies) write() error {
	if !p.model.Empty() {
		p.state = present
		return p.table.Write(p.model.State())
	}
	if p.state == absent {
		return nil
	}
	// Of ours, or of an earlier agent's.
	err := p.table.Remove()
	if err == nil {
		p.state = absent
	}
	return err
}

func (p *policies) opened() bool {
	select {
	case <-p.needed:
		return true
	default:
		return false
	}
}

func (p *policies) setPolicy(ctx context.Context, np *networkingv1.NetworkPolicy) {
	if err := p.model.SetPolicy(np); err != nil {
		klog.FromContext(ctx).Error(err, "Leaving out a network policy", "NetworkPolicy", klog.KObj(np))
		return
	}
	if !p.opened() {
		close(p.needed)
	}
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// setPod takes a pod as the API has it; p.mu is held.
func (p *policies) setPod(pod *corev1.Pod) {
	key := keyOf(pod)
	own, ok := p.connected[key]
	if ok && own.uid != pod.UID {
		if !own.olderThan(pod) {
			return // news of a pod before ours
		}
		// Ours went while nobody told, and the next one may be anywhere.
		delete(p.connected, key)
		own, ok = connectedPod{}, false
	}
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		p.model.DeletePod(key)
		return
	}
	out := &policy.Pod{Labels: pod.Labels, Local: pod.Spec.NodeName == p.node, IPs: own.ips}
	if !ok {
		for _, ip := range pod.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				out.IPs = append(out.IPs, a)
			}
		}
	}
	for _, c := range allContainers(pod) {
		for _, port := range c.Ports {
			if port.Name != "" {
				out.Ports = append(out.Ports, policy.Port{Name: port.Name, Protocol: policy.ProtocolNumber(port.Protocol), Number: uint16(port.ContainerPort)}) //nolint:gosec // validated
			}
		}
	}
	p.model.SetPod(key, out)
}

func (p *policies) deletePod(pod *corev1.Pod) {
	key := keyOf(pod)
	if own, ok := p.connected[key]; ok {
		if own.uid != pod.UID {
			return
		}
		delete(p.connected, key)
	}
	p.model.DeletePod(key)
}

// forget is told of a pod of which nothing is left on the node. Without policies
// nobody else tells of that.
func (p *policies) forget(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key := keyOf(pod); p.connected[key].uid == pod.UID {
		delete(p.connected, key)
	}
}

func allContainers(pod *corev1.Pod) []corev1.Container {
	out := append([]corev1.Container{}, pod.Spec.Containers...)
	return append(out, pod.Spec.InitContainers...)
}

// onlyPolicyMatters keeps of a Pod what policies look at.
func onlyPolicyMatters(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion, Labels: pod.Labels},
		Spec:       corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs},
	}
	for _, c := range pod.Spec.Containers {
		out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name, Ports: c.Ports})
	}
	for _, c := range pod.Spec.InitContainers {
		out.Spec.InitContainers = append(out.Spec.InitContainers, corev1.Container{Name: c.Name, Ports: c.Ports})
	}
	return out, nil
}

// protectPod isolates a pod before its containers start.
func (a *Agent) protectPod(ctx context.Context, pod *corev1.Pod, ips []netip.Addr) error {
	if a.policies == nil {
		return nil
	}
	if err := a.policies.protect(ctx, pod, ips); err != nil {
		return fmt.Errorf("set up network policies: %w", err)
	}
	return nil
}
