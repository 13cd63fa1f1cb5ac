package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumebinding"
)

// volumeTimeout is how long a pod waits for its volumes before it is given
// another node (kube-scheduler's bindTimeoutSeconds).
const volumeTimeout = 10 * time.Minute

// volumes knows which free volumes were given away and not yet shown so by the
// watch, and tells of changed claims.
type volumes struct {
	mu      sync.Mutex
	taken   map[string]string // volume name to claim
	changed chan struct{}     // closed and replaced with every change of a claim
}

func (v *volumes) takenBy(name string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.taken[name]
}

func (v *volumes) announce() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *volumes) next() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// reserve decides how the pod's open claims are bound on the node, and keeps
// the volumes for it.
func (s *Scheduler) reserve(p *cache.Pod, node string) ([]volumebinding.Binding, error) {
	if len(p.Claims) == 0 {
		return nil, nil
	}
	n := s.cache.Node(node)
	if n == nil {
		return nil, fmt.Errorf("running Reserve plugin %q: node %q not found", volumebinding.Name, node)
	}
	plan, err := s.cycle.Rules.Volumes.Plan(p, n)
	if err != nil {
		return nil, fmt.Errorf("running Reserve plugin %q: %w", volumebinding.Name, err)
	}
	s.volumes.mu.Lock()
	defer s.volumes.mu.Unlock()
	for _, b := range plan {
		if b.Volume == nil {
			continue
		}
		if s.volumes.taken == nil {
			s.volumes.taken = map[string]string{}
		}
		s.volumes.taken[b.Volume.Name] = b.Claim.Namespace + "/" + b.Claim.Name
	}
	return plan, nil
}

// release ends what reserve kept.
func (s *Scheduler) release(plan []volumebinding.Binding) {
	if len(plan) == 0 {
		return
	}
	s.volumes.mu.Lock()
	defer s.volumes.mu.Unlock()
	for _, b := range plan {
		if b.Volume != nil {
			delete(s.volumes.taken, b.Volume.Name)
		}
	}
}

// bindVolumes writes the plan and waits until the volume controller has
// carried it out.
func (s *Scheduler) bindVolumes(ctx context.Context, plan []volumebinding.Binding, node string) error {
	if len(plan) == 0 {
		return nil
	}
	for i := range plan {
		if err := s.writeBinding(ctx, &plan[i], node); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, volumeTimeout)
	defer cancel()
	for {
		changed := s.volumes.next() // before looking, so that no change is missed
		switch s.cycle.Rules.Volumes.Progress(plan, node) {
		case volumebinding.Bound:
			return nil
		case volumebinding.Rejected:
			return errors.New("binding volumes: provisioning failed for PVC on the selected node")
		case volumebinding.Waiting:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("binding volumes: %w", ctx.Err())
		}
	}
}

// writeBinding gives the volume to the claim, or asks for one on the node. The
// plan keeps the written claim, to tell later changes from older versions.
func (s *Scheduler) writeBinding(ctx context.Context, b *volumebinding.Binding, node string) error {
	if b.Volume != nil {
		pv, dirty, err := volume.GetBindVolumeToClaim(b.Volume, b.Claim)
		if err != nil {
			return fmt.Errorf("bind volume %s: %w", b.Volume.Name, err)
		}
		if !dirty {
			return nil
		}
		if _, err := s.client.CoreV1().PersistentVolumes().Update(ctx, pv, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("bind volume %s: %w", pv.Name, err)
		}
		return nil
	}
	if b.Claim.Annotations[volume.AnnSelectedNode] == node {
		return nil
	}
	claim := b.Claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnSelectedNode, node)
	written, err := s.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("select node for claim %s: %w", claim.Name, err)
	}
	b.Claim = written
	return nil
}
