package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Input is what a status is made of.
type Input struct {
	Pod      *corev1.Pod
	Observed podworker.Observed
	State    *podworker.State
	// HostIPs of the node, the first is the primary one.
	HostIPs []string
	// TerminationMessage gives what a container that has ended left.
	TerminationMessage func(c *runtime.Container) string
	// RuntimeName stands before container IDs: "containerd".
	RuntimeName string
	Now         time.Time
}

// Generate makes a pod's status. Conditions that others own are kept, and so
// is what can't be observed any more.
func Generate(in Input) corev1.PodStatus {
	old := in.Pod.Status
	out := *old.DeepCopy()
	out.ObservedGeneration = in.Pod.Generation
	if out.StartTime == nil {
		out.StartTime = &metav1.Time{Time: in.State.StartTime.Truncate(time.Second)}
	}
	if len(in.HostIPs) > 0 {
		out.HostIP = in.HostIPs[0]
		out.HostIPs = nil
		for _, ip := range in.HostIPs {
			out.HostIPs = append(out.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	ips := in.State.PodIPs
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	if in.State.Attached && len(ips) > 0 {
		out.PodIP = ips[0]
		out.PodIPs = nil
		for _, ip := range ips {
			out.PodIPs = append(out.PodIPs, corev1.PodIP{IP: ip})
		}
	}
	if e := in.State.Ending; e != nil && e.Rejected {
		out.Phase, out.Reason, out.Message = corev1.PodFailed, e.Reason, e.Message
		out.Conditions = conditions(in, &out)
		return out
	}
	out.InitContainerStatuses = containerStatuses(in, runtime.Init)
	out.ContainerStatuses = containerStatuses(in, runtime.Regular)
	out.EphemeralContainerStatuses = containerStatuses(in, runtime.Ephemeral)
	out.Phase = phase(in, &out)
	out.AllocatedResources = resources.Allocated(in.Pod)
	has := runtime.Resources{}
	if in.Observed.Sandbox != nil && out.Phase == corev1.PodRunning {
		has = in.Observed.Sandbox.Resources
	}
	out.Resources = resources.OfPod(in.Pod, has)
	if e := in.State.Ending; e != nil && e.Reason != "Removed" {
		out.Reason, out.Message = e.Reason, e.Message
	}
	out.Conditions = conditions(in, &out)
	return out
}
