package attachdetach

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Annotations by which a node says who attaches its volumes, and whether those
// of pods that have ended stay.
const (
	managedAnnotation        = "volumes.kubernetes.io/controller-managed-attach-detach"
	keepTerminatedAnnotation = "volumes.kubernetes.io/keep-terminated-pod-volumes"
)

// attachTimeout is how long a driver may take before the pods are told.
const attachTimeout = 2 * time.Minute

// state is what a turn has read.
type state struct {
	name        string
	node        *corev1.Node // nil when it is gone
	wanted      map[corev1.UniqueVolumeName]*volume
	attachments []attachment // of this node
	elsewhere   []attachment // of the wanted ones, to other nodes
}

type limits struct {
	wait  time.Duration
	force bool
}

// turnPlan is what a turn does.
type turnPlan struct {
	report   []corev1.AttachedVolume // in the node's status
	attach   []*volume
	detach   []removal
	attached []*volume // since the last turn
	troubles []trouble
	again    time.Duration // 0: when something changes
}

// removal is an attachment to remove.
type removal struct {
	attachment
	forced bool // without asking the node
}

// trouble is why a volume is not attached.
type trouble struct {
	volume *volume
	text   string    // after "for volume … "
	multi  bool      // another node has it
	at     time.Time // when it came up; the same trouble is told once
}

func managed(node *corev1.Node) bool {
	_, ok := node.Annotations[managedAnnotation]
	return ok
}

func (s *state) keepsTerminated() bool {
	return s.node != nil && s.node.Annotations[keepTerminatedAnnotation] == "true"
}

// planTurn decides; it keeps m.unwanted up to date.
func planTurn(s *state, m *memory, l limits, now time.Time) turnPlan {
	var p turnPlan
	if s.node != nil && !managed(s.node) {
		return p // the node does it itself
	}
	kept := map[corev1.UniqueVolumeName]time.Time{}
	for _, a := range s.attachments {
		if s.wanted[a.volume] == nil {
			since, known := m.unwanted[a.volume]
			if !known {
				since = now
			}
			kept[a.volume] = since
			p.planUnwanted(s, a, now.Sub(since), l)
		} else if isAttached(a) {
			p.report = append(p.report, corev1.AttachedVolume{Name: a.volume})
		}
	}
	m.unwanted = kept
	slices.SortFunc(p.report, func(a, b corev1.AttachedVolume) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range slices.Sorted(maps.Keys(s.wanted)) {
		p.planWanted(s, s.wanted[name], now)
	}
	return p
}

// planUnwanted lets a volume go that the node does not use, says nothing of
// for too long, or cannot use any more.
func (p *turnPlan) planUnwanted(s *state, a attachment, waited time.Duration, l limits) {
	expired := l.force && waited >= l.wait && (s.node == nil || !isReady(s.node))
	forced := expired || s.node != nil && isOutOfService(s.node)
	switch {
	case isInUse(s.node, a.volume) && !forced:
		if isAttached(a) {
			p.report = append(p.report, corev1.AttachedVolume{Name: a.volume})
		}
		if waited < l.wait {
			p.lookAgain(l.wait - waited)
		}
	case a.object.DeletionTimestamp == nil:
		p.detach = append(p.detach, removal{a, forced})
	}
}

func (p *turnPlan) planWanted(s *state, v *volume, now time.Time) {
	i := slices.IndexFunc(s.attachments, func(a attachment) bool { return a.volume == v.name })
	if i < 0 {
		if t, blocked := planShare(s, v); !blocked {
			p.attach = append(p.attach, v)
		} else if t.text != "" {
			p.troubles = append(p.troubles, t)
		}
		return
	}
	a := s.attachments[i]
	status, age := a.object.Status, now.Sub(a.object.CreationTimestamp.Time)
	switch {
	case a.object.DeletionTimestamp != nil: // attached anew when it is gone
	case status.Attached:
		if s.node != nil && !slices.ContainsFunc(s.node.Status.VolumesAttached, func(r corev1.AttachedVolume) bool { return r.Name == v.name }) {
			p.attached = append(p.attached, v)
		}
	case status.AttachError != nil:
		p.troubles = append(p.troubles, trouble{volume: v, text: ": " + status.AttachError.Message, at: status.AttachError.Time.Time})
	case age < attachTimeout:
		p.lookAgain(attachTimeout - age)
	default:
		p.lookAgain(attachTimeout - age%attachTimeout)
		csi := v.object.Spec.CSI
		p.troubles = append(p.troubles, trouble{
			volume: v, at: now.Add(-age % attachTimeout),
			text: fmt.Sprintf(": timed out waiting for external-attacher of %s CSI driver to attach volume %s", csi.Driver, csi.VolumeHandle),
		})
	}
}

// planShare tells whether other nodes keep a volume from this one. An attempt
// that failed there does not; one under way does, without a word.
func planShare(s *state, v *volume) (_ trouble, blocked bool) {
	if isShareable(v.object) {
		return trouble{}, false
	}
	var has bool
	for _, a := range s.elsewhere {
		if a.volume == v.name {
			has = has || a.object.Status.Attached
			blocked = blocked || a.object.Status.Attached || a.object.Status.AttachError == nil
		}
	}
	switch {
	case !has:
		return trouble{}, blocked
	case len(v.users) == 0:
		return trouble{volume: v, multi: true, text: "Volume is already exclusively attached to one node and can't be attached to another"}, true
	}
	slices.Sort(v.users)
	return trouble{volume: v, multi: true, text: "Volume is already used by pod(s) " + strings.Join(slices.Compact(v.users), ", ")}, true
}

func (p *turnPlan) lookAgain(in time.Duration) {
	if p.again == 0 || in < p.again {
		p.again = in
	}
}

func isAttached(a attachment) bool {
	return a.object.Status.Attached && a.object.DeletionTimestamp == nil && !strings.HasSuffix(string(a.volume), "^")
}

// isInUse tells whether a node says that it has mounted a volume. One that is
// gone says nothing: it may run still. Of a volume whose handle is not known
// any more, any of the same driver counts.
func isInUse(node *corev1.Node, name corev1.UniqueVolumeName) bool {
	return node == nil || slices.ContainsFunc(node.Status.VolumesInUse, func(used corev1.UniqueVolumeName) bool {
		return used == name || strings.HasSuffix(string(name), "^") && strings.HasPrefix(string(used), string(name))
	})
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func isOutOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
