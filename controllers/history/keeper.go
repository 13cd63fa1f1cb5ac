package history

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// Keeper reads and writes histories.
type Keeper struct {
	Client client.Client
	Live   client.Reader // the server itself, not the cache

	// Writes is told of every revision that is written, under its owner's name.
	Writes *consistency.Tracker
}

// List returns the owner's revisions, the newest last, after it has adopted
// those that match its selector and released those that no longer do.
func (k Keeper) List(ctx context.Context, owner Owner) ([]*appsv1.ControllerRevision, error) {
	selector, err := metav1.LabelSelectorAsSelector(owner.Selector)
	if err != nil {
		return nil, reconcile.TerminalError(fmt.Errorf("read selector of %s: %w", klog.KObj(owner), err))
	}
	var owned, orphans appsv1.ControllerRevisionList
	if err := ownership.List(ctx, k.Client, &owned, owner.GetNamespace(), owner.GetUID()); err != nil {
		return nil, err
	}
	if err := ownership.ListOrphans(ctx, k.Client, &orphans, owner.GetNamespace()); err != nil {
		return nil, err
	}
	claims := ownership.Plan(owner.Object, selector, items(&owned), items(&orphans))
	key := client.ObjectKeyFromObject(owner)
	for _, revision := range claims.Release {
		released, exists, err := ownership.Release(ctx, k.Client, revision, owner.GetUID())
		if err != nil {
			return nil, err
		}
		if exists {
			k.Writes.Wrote(key, released)
		}
	}
	if len(claims.Adopt) > 0 {
		if err := ownership.CheckOwner(ctx, k.Live, owner.Object); err != nil {
			return nil, err
		}
	}
	revisions := claims.Keep
	for _, revision := range claims.Adopt {
		adopted, exists, err := ownership.Adopt(ctx, k.Client, revision, owner.Ref)
		if err != nil {
			return nil, err
		}
		if exists {
			k.Writes.Wrote(key, adopted)
			revisions = append(revisions, adopted)
		}
	}
	return Sort(revisions), nil
}

// Current returns the revision of the owner's present template, made if there
// is none and moved to the end of the history if it is an old one. It returns
// nil when the name that it should have is taken: then the owner's collisions
// are one more, and it has another name.
func (k Keeper) Current(ctx context.Context, owner Owner, revisions []*appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	if len(revisions) > 0 {
		newest := revisions[len(revisions)-1]
		if holds(newest, owner.Template) {
			return newest, nil
		}
	}
	if old := find(revisions, owner.Template); old != nil {
		return k.renew(ctx, owner, old, next(revisions))
	}
	revision, err := newRevision(owner, next(revisions))
	if err != nil {
		return nil, err
	}
	err = k.Client.Create(ctx, revision)
	switch {
	case apierrors.IsAlreadyExists(err):
		existing := &appsv1.ControllerRevision{}
		if err := k.Live.Get(ctx, client.ObjectKeyFromObject(revision), existing); err != nil {
			return nil, fmt.Errorf("read revision %s: %w", klog.KObj(revision), err)
		}
		if !metav1.IsControlledBy(existing, owner) || !holds(existing, owner.Template) {
			return nil, nil
		}
		revision = existing
	case err != nil:
		return nil, fmt.Errorf("create revision %s: %w", klog.KObj(revision), err)
	}
	k.Writes.Wrote(client.ObjectKeyFromObject(owner), revision)
	return revision, nil
}

func (k Keeper) renew(ctx context.Context, owner Owner, revision *appsv1.ControllerRevision, number int64) (*appsv1.ControllerRevision, error) {
	changed := revision.DeepCopy()
	changed.Revision = number
	if err := k.Client.Patch(ctx, changed, client.MergeFrom(revision)); err != nil {
		return nil, fmt.Errorf("renew revision %s: %w", klog.KObj(revision), err)
	}
	k.Writes.Wrote(client.ObjectKeyFromObject(owner), changed)
	return changed, nil
}

// Trim deletes the oldest revisions, so that no more than limit are left beside
// those that are in use.
func (k Keeper) Trim(ctx context.Context, owner Owner, revisions []*appsv1.ControllerRevision, inUse func(*appsv1.ControllerRevision) bool, limit int32) error {
	for _, revision := range planTrim(revisions, inUse, int(limit)) {
		err := k.Client.Delete(ctx, revision, client.Preconditions{UID: &revision.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete revision %s: %w", klog.KObj(revision), err)
		}
		if err == nil {
			k.Writes.Deleted(client.ObjectKeyFromObject(owner), revision)
		}
	}
	return nil
}

func items(list *appsv1.ControllerRevisionList) []*appsv1.ControllerRevision {
	revisions := make([]*appsv1.ControllerRevision, 0, len(list.Items))
	for i := range list.Items {
		revisions = append(revisions, &list.Items[i])
	}
	return revisions
}
