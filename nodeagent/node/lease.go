package node

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

const (
	firstLeaseRetry = 200 * time.Millisecond
	maxLeaseRetry   = 7 * time.Second
)

// keepLease renews the node's lease until ctx ends.
func (n *Node) keepLease(ctx context.Context) {
	var lease *coordinationv1.Lease
	delay := firstLeaseRetry
	for {
		renewed, err := n.renew(ctx, lease)
		lease = renewed
		wait := n.cfg.LeasePeriod
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			klog.FromContext(ctx).V(1).Info("Renewing node lease failed", "Node", n.cfg.Name, "reason", err)
			wait = min(delay, n.cfg.LeasePeriod)
			delay = min(2*delay, maxLeaseRetry)
		} else {
			delay = firstLeaseRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-n.cfg.Clock.After(wait):
		}
	}
}

// renew writes the lease that was read or written last; without one, or after
// a conflict, it is read or created first.
func (n *Node) renew(ctx context.Context, last *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	leases := n.cfg.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if last == nil {
		got, err := leases.Get(ctx, n.cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return leases.Create(ctx, n.lease(&coordinationv1.Lease{}), metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
		last = got
	}
	got, err := leases.Update(ctx, n.lease(last), metav1.UpdateOptions{})
	if err != nil {
		return nil, err // read again the next time
	}
	return got, nil
}

func (n *Node) lease(base *coordinationv1.Lease) *coordinationv1.Lease {
	l := base.DeepCopy()
	l.Name, l.Namespace = n.cfg.Name, corev1.NamespaceNodeLease
	l.Spec.HolderIdentity = &n.cfg.Name
	l.Spec.LeaseDurationSeconds = new(int32(n.cfg.LeaseDuration / time.Second))
	l.Spec.RenewTime = &metav1.MicroTime{Time: n.cfg.Clock.Now()}
	if node := n.Get(); node != nil && len(l.OwnerReferences) == 0 {
		// The lease goes with its node.
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	}
	return l
}
