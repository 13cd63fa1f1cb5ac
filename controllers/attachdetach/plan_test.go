package attachdetach

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func disk(name string, modes ...corev1.PersistentVolumeAccessMode) *volume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "disks", VolumeHandle: name}
	pv.Spec.AccessModes = modes
	return &volume{name: uniqueName(pv.Spec.CSI), object: pv}
}

type change func(*storagev1.VolumeAttachment)

func attachedTo(node, disk string, changes ...change) attachment {
	a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "of-" + disk, CreationTimestamp: metav1.NewTime(now)}}
	a.Spec.NodeName, a.Status.Attached = node, true
	for _, c := range changes {
		c(a)
	}
	return attachment{corev1.UniqueVolumeName(prefix("disks") + disk), a}
}

func notYet(a *storagev1.VolumeAttachment) { a.Status.Attached = false }

func leaving(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &metav1.Time{Time: now} }

func failing(a *storagev1.VolumeAttachment) {
	a.Status.Attached, a.Status.AttachError = false, &storagev1.VolumeError{Message: "no room", Time: metav1.NewTime(now)}
}

func aged(d time.Duration) change {
	return func(a *storagev1.VolumeAttachment) { a.CreationTimestamp = metav1.NewTime(now.Add(-d)) }
}

func nodeWith(ready bool, inUse ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here", Annotations: map[string]string{managedAnnotation: "true"}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionUnknown}[ready]}}
	for _, name := range inUse {
		n.Status.VolumesInUse = append(n.Status.VolumesInUse, corev1.UniqueVolumeName(prefix("disks")+name))
	}
	return n
}

func outOfService(n *corev1.Node) *corev1.Node {
	n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
	return n
}

// tell is a plan in one line.
func (p turnPlan) tell() string {
	var out []string
	for _, r := range p.report {
		out = append(out, "report "+strings.TrimPrefix(string(r.Name), prefix("disks")))
	}
	for _, v := range p.attached {
		out = append(out, "new "+v.object.Name)
	}
	for _, v := range p.attach {
		out = append(out, "attach "+v.object.Name)
	}
	for _, d := range p.detach {
		out = append(out, map[bool]string{false: "detach ", true: "force "}[d.forced]+strings.TrimPrefix(string(d.volume), prefix("disks")))
	}
	for _, t := range p.troubles {
		out = append(out, t.text)
	}
	if p.again > 0 {
		out = append(out, fmt.Sprint("again ", p.again))
	}
	return strings.Join(out, ", ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const rwo, rwx = corev1.ReadWriteOnce, corev1.ReadWriteMany
	used := func(v *volume, by ...string) *volume { v.users = by; return v }
	here := func(a ...attachment) []attachment { return a }
	for _, c := range []struct {
		name            string
		node            *corev1.Node
		wanted          []*volume
		here, elsewhere []attachment
		waited          time.Duration // since a is unwanted
		want            string
	}{
		{"what is wanted is attached", nodeWith(true), []*volume{disk("a", rwo)}, nil, nil, 0, "attach a"},
		{"what is attached is reported, and its pods are told", nodeWith(true), []*volume{disk("b"), disk("a")}, here(attachedTo("here", "b"), attachedTo("here", "a")), nil, 0, "report a, report b, new a, new b"},
		{"what is not attached yet is waited for", nodeWith(true), []*volume{disk("a")}, here(attachedTo("here", "a", notYet, aged(time.Minute))), nil, 0, "again 1m0s"},
		{"a driver that takes too long is told of", nodeWith(true), []*volume{disk("a")}, here(attachedTo("here", "a", notYet, aged(3*time.Minute))), nil, 0, ": timed out waiting for external-attacher of disks CSI driver to attach volume a, again 1m0s"},
		{"what the driver says is told", nodeWith(true), []*volume{disk("a")}, here(attachedTo("here", "a", failing)), nil, 0, ": no room"},
		{"what is on its way out is waited for", nodeWith(true), []*volume{disk("a")}, here(attachedTo("here", "a", leaving)), nil, 0, ""},
		{"what nobody wants and the node does not use goes", nodeWith(true), nil, here(attachedTo("here", "a")), nil, 0, "detach a"},
		{"an attempt that nobody wants any more goes as well", nodeWith(true), nil, here(attachedTo("here", "a", notYet)), nil, 0, "detach a"},
		{"it is asked to go once", nodeWith(true), nil, here(attachedTo("here", "a", leaving)), nil, 0, ""},
		{"what the node uses stays", nodeWith(true, "a"), nil, here(attachedTo("here", "a")), nil, 0, "report a, again 6m0s"},
		{"it stays for ever on a ready node", nodeWith(true, "a"), nil, here(attachedTo("here", "a")), nil, time.Hour, "report a"},
		{"on a silent node it stays for six minutes", nodeWith(false, "a"), nil, here(attachedTo("here", "a")), nil, 5 * time.Minute, "report a, again 1m0s"},
		{"and then goes", nodeWith(false, "a"), nil, here(attachedTo("here", "a")), nil, 6 * time.Minute, "force a"},
		{"on a node out of service it goes at once", outOfService(nodeWith(false, "a")), nil, here(attachedTo("here", "a")), nil, 0, "force a"},
		{"a node that is gone may still run", nil, nil, here(attachedTo("here", "a")), nil, time.Minute, "report a, again 5m0s"},
		{"and is given up as a silent one", nil, nil, here(attachedTo("here", "a")), nil, 6 * time.Minute, "force a"},
		{"of a volume that is gone any of its driver counts as used", nodeWith(true, "x"), nil, here(attachedTo("here", "")), nil, 0, "again 6m0s"},
		{"and none lets it go", nodeWith(true), nil, here(attachedTo("here", "")), nil, 0, "detach "},
		{"another node that has the volume is named by its pods", nodeWith(true), []*volume{used(disk("a", rwo), "q", "p", "p")}, nil, here(attachedTo("there", "a")), 0, "Volume is already used by pod(s) p, q"},
		{"or not, when they are gone", nodeWith(true), []*volume{disk("a", corev1.ReadWriteOncePod)}, nil, here(attachedTo("there", "a")), 0, "Volume is already exclusively attached to one node and can't be attached to another"},
		{"until it is gone from there", nodeWith(true), []*volume{disk("a", rwo)}, nil, here(attachedTo("there", "a", leaving)), 0, "Volume is already exclusively attached to one node and can't be attached to another"},
		{"one that is on its way there is waited for", nodeWith(true), []*volume{disk("a", rwo)}, nil, here(attachedTo("there", "a", notYet)), 0, ""},
		{"one that failed there is not", nodeWith(true), []*volume{disk("a", rwo)}, nil, here(attachedTo("there", "a", failing)), 0, "attach a"},
		{"a volume of many nodes is attached to many", nodeWith(true), []*volume{disk("a", rwo, rwx)}, nil, here(attachedTo("there", "a")), 0, "attach a"},
		{"a node that does it itself is let alone", &corev1.Node{}, []*volume{disk("a")}, here(attachedTo("here", "b")), nil, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, m := &state{name: "here", node: c.node, wanted: map[corev1.UniqueVolumeName]*volume{}, attachments: c.here, elsewhere: c.elsewhere}, newMemory()
			for _, v := range c.wanted {
				s.wanted[v.name] = v
			}
			for _, a := range c.here {
				m.unwanted[a.volume] = now.Add(-c.waited)
			}
			if got := planTurn(s, m, limits{6 * time.Minute, true}, now).tell(); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestWaitingBeginsAnewWhenAPodComesBack(t *testing.T) {
	t.Parallel()
	m, a := newMemory(), disk("a")
	s := &state{name: "here", node: nodeWith(false, "a"), attachments: []attachment{attachedTo("here", "a")}}
	l := limits{6 * time.Minute, true}
	for _, step := range []struct {
		after  time.Duration
		wanted map[corev1.UniqueVolumeName]*volume
		want   string
	}{
		{0, nil, "report a, again 6m0s"},
		{4 * time.Minute, map[corev1.UniqueVolumeName]*volume{a.name: a}, "report a, new a"},
		{7 * time.Minute, nil, "report a, again 6m0s"},
		{13 * time.Minute, nil, "force a"},
	} {
		s.wanted = step.wanted
		if got := planTurn(s, m, l, now.Add(step.after)).tell(); got != step.want {
			t.Errorf("after %s: got %q, want %q", step.after, got, step.want)
		}
	}
	if got := planTurn(s, m, limits{6 * time.Minute, false}, now.Add(time.Hour)).tell(); got != "report a" {
		t.Errorf("without force: %q", got)
	}
}

func TestHoldsVolumes(t *testing.T) {
	t.Parallel()
	deleted := &metav1.Time{Time: now}
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	ended := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
	for _, c := range []struct {
		name    string
		deleted *metav1.Time
		status  corev1.PodStatus
		want    bool
	}{
		{"a pod that waits", nil, corev1.PodStatus{Phase: corev1.PodPending}, true},
		{"one that runs", nil, corev1.PodStatus{Phase: corev1.PodRunning}, true},
		{"one that failed", nil, corev1.PodStatus{Phase: corev1.PodFailed}, false},
		{"one that succeeded", nil, corev1.PodStatus{Phase: corev1.PodSucceeded}, false},
		{"one on its way out whose containers run", deleted, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended, running}}, true},
		{"one on its way out whose containers have ended", deleted, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended}}, false},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: c.deleted}, Status: c.status}
		if got := holdsVolumes(pod, false); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if !holdsVolumes(pod, true) {
			t.Errorf("%s, on a node that keeps volumes", c.name)
		}
	}
}
