package attachdetach

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/peek"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups="",resources=pods;persistentvolumeclaims;persistentvolumes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=nodes/status,verbs=patch;update
// +kubebuilder:rbac:groups=storage.k8s.io,resources=volumeattachments,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups=storage.k8s.io,resources=csidrivers,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler attaches volumes to nodes, and detaches them.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock

	// MaxWaitForUnmount is how long a node that is not ready may keep a volume
	// that no pod of it uses any more.
	MaxWaitForUnmount time.Duration
	// NoForceDetach keeps it there until the node says that it is unmounted, or
	// has the taint node.kubernetes.io/out-of-service.
	NoForceDetach bool

	live        client.Reader // the server itself, not the cache
	pods        peek.Store[*corev1.Pod]
	claims      peek.Store[*corev1.PersistentVolumeClaim]
	volumes     peek.Store[*corev1.PersistentVolume]
	drivers     peek.Store[*storagev1.CSIDriver]
	nodes       peek.Store[*corev1.Node]
	attachments peek.Store[*storagev1.VolumeAttachment]

	nodeWrites, attachmentWrites *consistency.Tracker

	// memory is of each node, and belongs to the one worker.
	memory map[string]*memory
}

// memory is what is known of a node that no object says. It is lost when
// another instance leads: waiting begins anew then, as it does upstream.
type memory struct {
	unwanted map[corev1.UniqueVolumeName]time.Time // since when
	told     map[corev1.UniqueVolumeName]trouble   // what its pods were told last
}

// turn names the writes of all turns: a turn must see those of all nodes, or
// two nodes might each be given what only one may have.
var turn = types.NamespacedName{Name: "turn"}

// Reconcile runs one turn for one node.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.nodeWrites.Wait(ctx, turn), r.attachmentWrites.Wait(ctx, turn)); err != nil {
		return ctrl.Result{}, err
	}
	s, err := r.observe(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	m := r.remember(s)
	p := planTurn(s, m, limits{r.MaxWaitForUnmount, !r.NoForceDetach}, r.Clock.Now())
	// A volume is no longer reported before it is detached, so that the node
	// does not mount it again meanwhile.
	if err := r.report(ctx, s, p); err != nil {
		return ctrl.Result{}, err
	}
	r.tell(p, m)
	return ctrl.Result{RequeueAfter: p.again}, errors.Join(r.detach(ctx, s, p), r.attach(ctx, s, p))
}

// observe reads all that concerns a node.
func (r *Reconciler) observe(ctx context.Context, name string) (*state, error) {
	s := &state{name: name, wanted: map[corev1.UniqueVolumeName]*volume{}}
	s.node, _ = r.nodes.Get(types.NamespacedName{Name: name})
	pods, err := r.podsOf(ctx, client.MatchingFields{podsByNode: name})
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if !holdsVolumes(pod, s.keepsTerminated()) {
			continue
		}
		for _, v := range r.volumesOf(pod) {
			if s.wanted[v.name] == nil {
				s.wanted[v.name] = v
			}
			s.wanted[v.name].pods = append(s.wanted[v.name].pods, pod)
		}
	}
	for _, a := range r.attachments.List() {
		pv, ok := r.attached(a)
		switch {
		case !ok:
		case a.Spec.NodeName == name:
			s.attachments = append(s.attachments, attachment{nameOf(a, pv), a})
		case pv != nil && s.wanted[nameOf(a, pv)] != nil:
			s.elsewhere = append(s.elsewhere, attachment{nameOf(a, pv), a})
		}
	}
	for _, other := range s.elsewhere {
		if err := r.observeUsers(ctx, s, other); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// observeUsers notes the pods that use a volume on another node.
func (r *Reconciler) observeUsers(ctx context.Context, s *state, a attachment) error {
	v := s.wanted[a.volume]
	pods, err := r.podsOf(ctx, client.MatchingFields{podsByClaim: v.claim.Name}, client.InNamespace(v.claim.Namespace))
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if pod.Spec.NodeName == a.object.Spec.NodeName && holdsVolumes(pod, false) {
			v.users = append(v.users, pod.Name)
		}
	}
	return nil
}

// remember returns what is known of a node, without what is over.
func (r *Reconciler) remember(s *state) *memory {
	if s.node == nil && len(s.attachments) == 0 {
		delete(r.memory, s.name)
		return newMemory()
	}
	m := r.memory[s.name]
	if m == nil {
		m = newMemory()
		r.memory[s.name] = m
	}
	return m
}

func newMemory() *memory {
	return &memory{unwanted: map[corev1.UniqueVolumeName]time.Time{}, told: map[corev1.UniqueVolumeName]trouble{}}
}

// podsOf lists pods by an index. They are the cache's own.
func (r *Reconciler) podsOf(ctx context.Context, options ...client.ListOption) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list pods with volumes: %w", err)
	}
	return podctl.Items(&list), nil
}
