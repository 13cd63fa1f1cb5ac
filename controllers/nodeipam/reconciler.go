package nodeipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs and metrics.
	Name = "node-ipam-controller"
	// eventSource is the reporter of its events, upstream's.
	eventSource = "cidrAllocator"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch

// Reconciler gives nodes their pod networks.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	// ClusterCIDR is cut into the nodes' parts: one network, or one for each
	// family separated by a comma.
	ClusterCIDR string
	// ServiceRange is left out where it overlaps, in the same form.
	ServiceRange string
	// MaskSize and MaskSizeIPv6 are the prefix lengths of the parts.
	// Zero: 24 and 64.
	MaskSize, MaskSizeIPv6 int

	allocator *allocator
	started   bool
}

// SetupWithManager starts a turn for every node that comes, goes, or has no
// network yet.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.MaskSize == 0 {
		r.MaskSize = 24
	}
	if r.MaskSizeIPv6 == 0 {
		r.MaskSizeIPv6 = 64
	}
	var err error
	if r.allocator, err = newAllocator(r.ClusterCIDR, r.ServiceRange, r.MaskSize, r.MaskSizeIPv6); err != nil {
		return err
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(eventSource)
	}
	needed := predicate.Funcs{
		// Heartbeats change a node every few seconds; they are none of ours.
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Node)
			after, ok2 := e.ObjectNew.(*corev1.Node)
			return ok1 && ok2 && (before.UID != after.UID || !slices.Equal(podCIDRs(before), podCIDRs(after)))
		},
	}
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Node{}, builder.WithPredicates(needed)).
		// One at a time: the allocator belongs to the one worker.
		WithOptions(turn.WithQueue(controller.Options{MaxConcurrentReconciles: 1})).
		Complete(r)
}

// Reconcile records, gives or frees one node's networks.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := r.start(ctx); err != nil {
		return ctrl.Result{}, err
	}
	node := &corev1.Node{}
	if err := r.Client.Get(ctx, req.NamespacedName, node); err != nil {
		if apierrors.IsNotFound(err) {
			r.allocator.forget(req.Name)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if len(podCIDRs(node)) > 0 {
		r.allocator.record(node.Name, parseKnown(ctx, node))
		return ctrl.Result{}, nil
	}
	parts, err := r.allocator.assign(node.Name)
	if err != nil {
		if errors.Is(err, errFull) {
			r.Events.Eventf(node, nil, corev1.EventTypeNormal, "CIDRNotAvailable", "AllocateCIDR", "Node %s status is now: %s", node.Name, "CIDRNotAvailable")
		}
		return ctrl.Result{}, fmt.Errorf("give node %s a pod network: %w", node.Name, err)
	}
	return ctrl.Result{}, r.write(ctx, node, parts)
}

// start notes what all nodes have, before the first node is given anything.
func (r *Reconciler) start(ctx context.Context) error {
	if r.started {
		return nil
	}
	nodes := &corev1.NodeList{}
	if err := r.Client.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for i := range nodes.Items {
		if node := &nodes.Items[i]; len(podCIDRs(node)) > 0 {
			r.allocator.record(node.Name, parseKnown(ctx, node))
		}
	}
	r.started = true
	return nil
}

// write sets the networks. It does not ask for an unchanged resourceVersion,
// which heartbeats move all the time: the API server refuses to change networks
// that are set, and the UID keeps the patch from a node of the same name.
func (r *Reconciler) write(ctx context.Context, node *corev1.Node, parts []netip.Prefix) error {
	before := node.DeepCopy()
	before.UID = ""
	after := node.DeepCopy()
	after.Spec.PodCIDR = parts[0].String()
	for _, part := range parts {
		after.Spec.PodCIDRs = append(after.Spec.PodCIDRs, part.String())
	}
	err := r.Client.Patch(ctx, after, client.StrategicMergeFrom(before))
	if apierrors.IsNotFound(err) {
		return nil // its deletion starts the turn that frees the networks
	}
	if err != nil {
		// The parts stay the node's own: the write may have been made, and
		// the next turn tries with the same.
		r.Events.Eventf(node, nil, corev1.EventTypeNormal, "CIDRAssignmentFailed", "AllocateCIDR", "Node %s status is now: %s", node.Name, "CIDRAssignmentFailed")
		return fmt.Errorf("set pod network of node %s: %w", node.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Gave node its pod network", "podCIDRs", after.Spec.PodCIDRs)
	return nil
}

// podCIDRs returns the node's networks; very old writers set the single field
// only.
func podCIDRs(node *corev1.Node) []string {
	if len(node.Spec.PodCIDRs) > 0 {
		return node.Spec.PodCIDRs
	}
	if node.Spec.PodCIDR != "" {
		return []string{node.Spec.PodCIDR}
	}
	return nil
}

func parseKnown(ctx context.Context, node *corev1.Node) []netip.Prefix {
	var networks []netip.Prefix
	for _, text := range podCIDRs(node) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Node has an invalid pod network", "node", node.Name, "podCIDR", text)
			continue
		}
		networks = append(networks, network.Masked())
	}
	return networks
}
