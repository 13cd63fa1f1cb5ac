package podctl

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/ownership"
)

// Claim returns the pods that belong to owner, after it has adopted those that
// match its selector and released those that no longer do. An orphan is
// adopted, and given finalizers, if mayAdopt says so; nil means all. Live is
// the server itself.
//
// The pods are the cache's own: they must not be changed.
func (c Control) Claim(ctx context.Context, live client.Reader, owner client.Object, ref metav1.OwnerReference, labelSelector *metav1.LabelSelector, mayAdopt func(*corev1.Pod) bool, finalizers ...string) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(labelSelector)
	if err != nil {
		// The server admits no such object, and trying again will not cure it.
		return nil, reconcile.TerminalError(fmt.Errorf("read selector of %s: %w", klog.KObj(owner), err))
	}
	var owned, orphans corev1.PodList
	if err := ownership.List(ctx, c.Client, &owned, owner.GetNamespace(), owner.GetUID()); err != nil {
		return nil, err
	}
	if err := ownership.ListOrphans(ctx, c.Client, &orphans, owner.GetNamespace()); err != nil {
		return nil, err
	}
	key := client.ObjectKeyFromObject(owner)
	claims := ownership.Plan(owner, selector, Items(&owned), Items(&orphans))
	pods := append(make([]*corev1.Pod, 0, len(claims.Keep)+len(claims.Adopt)), claims.Keep...)
	for _, pod := range claims.Release {
		released, exists, err := ownership.Release(ctx, c.Client, pod, owner.GetUID())
		if err != nil {
			return nil, err
		}
		if exists {
			c.Writes.Wrote(key, released)
		}
	}
	checked := false
	for _, pod := range claims.Adopt {
		if HasEnded(pod) || (mayAdopt != nil && !mayAdopt(pod)) {
			continue
		}
		if !checked {
			if err := ownership.CheckOwner(ctx, live, owner); err != nil {
				return nil, err
			}
			checked = true
		}
		adopted, exists, err := ownership.Adopt(ctx, c.Client, pod, ref, finalizers...)
		if err != nil {
			return nil, err
		}
		if exists {
			c.Writes.Wrote(key, adopted)
			pods = append(pods, adopted)
		}
	}
	return pods, nil
}
