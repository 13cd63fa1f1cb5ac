package attachdetach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// report writes what is attached in the node's status, where that differs.
func (r *Reconciler) report(ctx context.Context, s *state, p turnPlan) error {
	if s.node == nil || !managed(s.node) || slices.Equal(s.node.Status.VolumesAttached, p.report) {
		return nil
	}
	node := s.node.DeepCopy()
	node.Status.VolumesAttached = p.report
	if err := r.Client.Status().Patch(ctx, node, client.MergeFrom(s.node)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("report volumes attached to node %s: %w", s.name, err)
	} else if err == nil {
		r.nodeWrites.Wrote(turn, node)
	}
	return nil
}

// attach asks for volumes to be attached.
func (r *Reconciler) attach(ctx context.Context, s *state, p turnPlan) error {
	var errs []error
	for _, v := range p.attach {
		a := &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: attachmentName(v.object.Spec.CSI, s.name)},
			Spec: storagev1.VolumeAttachmentSpec{
				NodeName: s.name, Attacher: v.object.Spec.CSI.Driver,
				Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To(v.object.Name)},
			},
		}
		switch err := r.Client.Create(ctx, a); {
		case err == nil:
			r.attachmentWrites.Wrote(turn, a)
			klog.FromContext(ctx).Info("Volume is to be attached", "PersistentVolume", klog.KObj(v.object), "Node", klog.KRef("", s.name))
		case !apierrors.IsAlreadyExists(err):
			errs = append(errs, fmt.Errorf("attach volume %s to node %s: %w", v.object.Name, s.name, err))
		}
	}
	return errors.Join(errs...)
}

// detach asks for volumes to be detached. The server is asked last whether the
// node has begun to use them: the cache may not know.
func (r *Reconciler) detach(ctx context.Context, s *state, p turnPlan) error {
	var errs []error
	for _, d := range p.detach {
		if err := r.detachOne(ctx, s, d); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("detach volume %s from node %s: %w", d.volume, s.name, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Reconciler) detachOne(ctx context.Context, s *state, d removal) error {
	if !d.forced && s.node != nil {
		node := &corev1.Node{}
		if err := r.live.Get(ctx, client.ObjectKey{Name: s.name}, node); err != nil && !apierrors.IsNotFound(err) {
			return err
		} else if err == nil && isInUse(node, d.volume) {
			klog.FromContext(ctx).V(1).Info("Volume stays: the node has begun to use it", "PersistentVolume", klog.KRef("", *d.object.Spec.Source.PersistentVolumeName), "Node", klog.KObj(node))
			return nil // the event of that starts the next turn
		}
	}
	if err := r.Client.Delete(ctx, d.object, client.Preconditions{UID: &d.object.UID}); err != nil {
		return err
	}
	r.attachmentWrites.Deleted(turn, d.object)
	klog.FromContext(ctx).Info("Volume is to be detached", "VolumeAttachment", klog.KObj(d.object), "Node", klog.KRef("", s.name), "forced", d.forced)
	return nil
}

// tell records on the pods what became of their volumes, and each trouble once.
func (r *Reconciler) tell(p turnPlan, m *memory) {
	told := map[corev1.UniqueVolumeName]trouble{}
	for _, v := range p.attached {
		for _, pod := range v.pods {
			r.Events.Eventf(pod, nil, corev1.EventTypeNormal, "SuccessfulAttachVolume", "AttachVolume", "AttachVolume.Attach succeeded for volume %q ", v.object.Name)
		}
	}
	for _, t := range p.troubles {
		last, known := m.told[t.volume.name]
		told[t.volume.name] = t
		if known && (last.multi && t.multi || last.text == t.text && last.at.Equal(t.at)) {
			continue
		}
		what := "AttachVolume.Attach failed"
		if t.multi {
			what = "Multi-Attach error"
		}
		for _, pod := range t.volume.pods {
			r.Events.Eventf(pod, nil, corev1.EventTypeWarning, "FailedAttachVolume", "AttachVolume", "%s for volume %q %s", what, t.volume.object.Name, t.text)
		}
	}
	m.told = told
}
