package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Client is what a Node needs of the API.
type Client interface {
	CoreV1() corev1client.CoreV1Interface
	CoordinationV1() coordinationclient.CoordinationV1Interface
}

// Config of a Node.
type Config struct {
	Client Client
	Name   string
	Labels map[string]string
	Taints []corev1.Taint
	// ProviderID is spec.providerID, where a cloud has one.
	ProviderID string
	// Observe gives what a status is made of.
	Observe func(ctx context.Context) Observed
	// SyncPeriod is between comparisons, ReportPeriod between writes of a
	// status that has not changed, LeasePeriod between renewals: 10 s, 5 min
	// and 10 s by default, the kubelet's.
	SyncPeriod, ReportPeriod, LeasePeriod time.Duration
	// LeaseDuration is 40 s by default.
	LeaseDuration time.Duration
	// Changed is called with the Node whenever the API has a newer one.
	Changed func(*corev1.Node)
	// Watch says that the Node is watched; without it, Update brings it.
	Watch bool
	// Event sends a Normal event of the node.
	Event func(reason, message string)
	Clock clock.WithTicker
}

// Node keeps one Node.
type Node struct {
	cfg        Config
	registered chan struct{}
	wake       chan struct{}

	mu   sync.Mutex
	node *corev1.Node // newest known

	reported time.Time // of the last write of the status
}

// New makes a Node.
func New(cfg Config) *Node {
	for v, d := range map[*time.Duration]time.Duration{
		&cfg.SyncPeriod: 10 * time.Second, &cfg.ReportPeriod: 5 * time.Minute, &cfg.LeasePeriod: 10 * time.Second, &cfg.LeaseDuration: 40 * time.Second,
	} {
		if *v == 0 {
			*v = d
		}
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Node{cfg: cfg, registered: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// Registered is closed once the Node is in the API.
func (n *Node) Registered() <-chan struct{} { return n.registered }

// Get gives the newest known Node, nil before it is registered. It must not be
// changed.
func (n *Node) Get() *corev1.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.node
}

// Wake has the status compared at once: something that it shows has changed.
func (n *Node) Wake() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Update takes a newer Node.
func (n *Node) Update(node *corev1.Node) {
	n.mu.Lock()
	old := n.node
	if old != nil && old.UID == node.UID && !newer(node, old) {
		n.mu.Unlock()
		return
	}
	n.node = node
	n.mu.Unlock()
	if n.cfg.Changed != nil {
		n.cfg.Changed(node)
	}
}

// newer compares resourceVersions, which grow.
func newer(a, b *corev1.Node) bool {
	x, y := a.ResourceVersion, b.ResourceVersion
	return len(x) > len(y) || len(x) == len(y) && x > y
}

// Run registers the node and keeps it until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	if err := n.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(n.registered)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { n.keepLease(ctx) })
	if n.cfg.Watch {
		wg.Go(func() { n.watch(ctx) })
	}
	n.keepStatus(ctx)
	return nil
}

// register creates the Node, or takes the one that is there over.
func (n *Node) register(ctx context.Context) error {
	delay := 100 * time.Millisecond
	for {
		err := n.tryRegister(ctx)
		if err == nil {
			return nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsUnauthorized(err) {
			return fmt.Errorf("register node %s: %w", n.cfg.Name, err)
		}
		klog.FromContext(ctx).Error(err, "Registering node", "Node", n.cfg.Name)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.cfg.Clock.After(delay):
		}
		delay = min(2*delay, 7*time.Second)
	}
}

func (n *Node) tryRegister(ctx context.Context) error {
	nodes := n.cfg.Client.CoreV1().Nodes()
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: n.cfg.Labels},
		Spec:       corev1.NodeSpec{Taints: n.cfg.Taints, ProviderID: n.cfg.ProviderID},
	}
	observed := n.cfg.Observe(ctx)
	want.Status = planStatus(nil, observed, n.cfg.Clock.Now())
	got, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		n.reported = n.cfg.Clock.Now()
		n.Update(got)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	if got, err = nodes.Get(ctx, n.cfg.Name, metav1.GetOptions{}); err != nil {
		return err
	}
	labels := map[string]string{}
	for k, v := range n.cfg.Labels {
		if got.Labels[k] != v {
			labels[k] = v
		}
	}
	if len(labels) > 0 {
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
		if err != nil {
			return err
		}
		if got, err = nodes.Patch(ctx, n.cfg.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	n.Update(got)
	return nil
}

func (n *Node) keepStatus(ctx context.Context) {
	ticker := n.cfg.Clock.NewTicker(n.cfg.SyncPeriod)
	defer ticker.Stop()
	for {
		if err := n.writeStatus(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Writing node status", "Node", n.cfg.Name)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		case <-n.wake:
		}
	}
}

func (n *Node) writeStatus(ctx context.Context) error {
	old := n.Get()
	now := n.cfg.Clock.Now()
	status := planStatus(&old.Status, n.cfg.Observe(ctx), now)
	due := now.Sub(n.reported) >= n.cfg.ReportPeriod
	patch := planPatch(&old.Status, &status, due)
	if patch == nil {
		return nil
	}
	data, err := json.Marshal(map[string]any{"status": patch})
	if err != nil {
		return fmt.Errorf("encode node status: %w", err)
	}
	got, err := n.cfg.Client.CoreV1().Nodes().Patch(ctx, n.cfg.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		// Somebody deleted the Node while we live: it comes back.
		return n.tryRegister(ctx)
	}
	if err != nil {
		return err
	}
	n.reported = now
	for _, e := range planEvents(&old.Status, &status, n.cfg.Name) {
		n.cfg.Event(e.reason, e.message)
	}
	n.Update(got)
	return nil
}

// watch brings newer versions of the Node.
func (n *Node) watch(ctx context.Context) {
	self := fields.OneTermEqualSelector("metadata.name", n.cfg.Name).String()
	nodes := n.cfg.Client.CoreV1().Nodes()
	update := func(obj any) { n.Update(obj.(*corev1.Node)) }
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = self
				return nodes.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = self
				return nodes.Watch(ctx, o)
			},
		},
		ObjectType: &corev1.Node{},
		Handler:    cache.ResourceEventHandlerFuncs{AddFunc: update, UpdateFunc: func(_, obj any) { update(obj) }},
	})
	informer.RunWithContext(ctx)
}

// planPatch gives the patch of a status, nil if nothing is to be written. With
// due, conditions are written with their heartbeats.
func planPatch(from, to *corev1.NodeStatus, due bool) map[string]any {
	patch := map[string]any{}
	set := func(name string, a, b any) {
		if !equality.Semantic.DeepEqual(a, b) {
			patch[name] = b
		}
	}
	for name, lists := range map[string][2]corev1.ResourceList{"capacity": {from.Capacity, to.Capacity}, "allocatable": {from.Allocatable, to.Allocatable}} {
		if changed := planQuantities(lists[0], lists[1]); len(changed) > 0 {
			patch[name] = changed
		}
	}
	set("daemonEndpoints", from.DaemonEndpoints, to.DaemonEndpoints)
	set("nodeInfo", from.NodeInfo, to.NodeInfo)
	set("images", from.Images, to.Images)
	set("declaredFeatures", from.DeclaredFeatures, to.DeclaredFeatures)
	if !equality.Semantic.DeepEqual(from.Addresses, to.Addresses) {
		// Merged by type otherwise, of which there may be two the same.
		list := []any{map[string]string{"$patch": "replace"}}
		for _, a := range to.Addresses {
			list = append(list, a)
		}
		patch["addresses"] = list
	}
	changed := false
	for _, c := range to.Conditions {
		old := findCondition(from.Conditions, c.Type)
		changed = changed || old == nil || old.Status != c.Status || old.Reason != c.Reason || old.Message != c.Message
	}
	if changed || due || len(patch) > 0 {
		patch["conditions"] = to.Conditions
		return patch
	}
	return nil
}

// planQuantities gives what is to be written of resources: new amounts, and nil for
// extended ones that are gone. Others that the agent does not know stay.
func planQuantities(from, to corev1.ResourceList) map[corev1.ResourceName]any {
	changed := map[corev1.ResourceName]any{}
	for name, q := range to {
		if before, ok := from[name]; !ok || before.Cmp(q) != 0 {
			changed[name] = q
		}
	}
	for name := range from {
		if _, ok := to[name]; !ok && extended(name) {
			changed[name] = nil
		}
	}
	return changed
}

// DefaultLabels are those that every node has.
func DefaultLabels(name, os, arch string, own map[string]string) map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: os, corev1.LabelArchStable: arch,
		"beta.kubernetes.io/os": os, "beta.kubernetes.io/arch": arch,
	}
	maps.Copy(labels, own)
	return labels
}
