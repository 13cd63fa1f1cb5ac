package nodeagent

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
)

// planAdmission decides whether the node takes a pod that was bound to it, with the
// kubelet's reasons; nil is yes. The scheduler looked at the same, but perhaps
// at an older node.
func planAdmission(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node, allocatable corev1.ResourceList) *podworker.Ending {
	reject := func(reason, format string, args ...any) *podworker.Ending {
		return &podworker.Ending{Reason: reason, Message: fmt.Sprintf(format, args...), Rejected: true}
	}
	if name, wanted, used, capacity := lacks(pod, others, allocatable); name != "" {
		return reject("OutOf"+string(name), "Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, wanted, used, capacity)
	}
	if node != nil {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok {
			return reject("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
		}
		if taint, untolerated := untolerated(pod, node); untolerated {
			return reject("TaintToleration", "Predicate TaintToleration failed: node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)
		}
	}
	if portTaken(pod, others) {
		return reject("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
	}
	return nil
}

// untolerated looks for a taint that would evict the pod at once.
func untolerated(pod *corev1.Pod, node *corev1.Node) (corev1.Taint, bool) {
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		if !schedulinghelper.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, &taint, true) {
			return taint, true
		}
	}
	return corev1.Taint{}, false
}

// lacks names a resource of which the node has not enough, in the units that
// the kubelet prints: thousandths of a CPU, else whole ones.
func lacks(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList) (name corev1.ResourceName, wanted, used, capacity int64) {
	if limit := allocatable.Pods().Value(); int64(len(others))+1 > limit {
		return corev1.ResourcePods, 1, int64(len(others)), limit
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	maps.DeleteFunc(requests, func(_ corev1.ResourceName, q resource.Quantity) bool { return q.IsZero() })
	if len(requests) == 0 {
		return "", 0, 0, 0 // what the others have matters to nobody
	}
	sum := map[corev1.ResourceName]int64{}
	for _, o := range others {
		for name, q := range resourcehelper.PodRequests(o, usedByOthers) {
			sum[name] += units(name, q)
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		q, asked := requests[name]
		if !asked {
			continue
		}
		wanted, limit := units(name, q), units(name, allocatable[name])
		if sum[name]+wanted > limit {
			return name, wanted, sum[name], limit
		}
	}
	return "", 0, 0, 0
}

// usedByOthers counts for pods on the node what is most of their spec, as it was
// allocated, and of what their status shows: a resize may be under way.
var usedByOthers = resourcehelper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}

func units(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

type hostPort struct {
	protocol corev1.Protocol
	port     int32
}

// portTaken says whether a host port of the pod is used by another, on the
// same address or on all.
func portTaken(pod *corev1.Pod, others []*corev1.Pod) bool {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return false
	}
	taken := map[hostPort][]string{}
	for _, o := range others {
		for p, ips := range hostPorts(o) {
			taken[p] = append(taken[p], ips...)
		}
	}
	for p, ips := range wanted {
		for _, ip := range ips {
			for _, other := range taken[p] {
				if ip == other || ip == anyAddress || other == anyAddress {
					return true
				}
			}
		}
	}
	return false
}

const anyAddress = "0.0.0.0"

func hostPorts(pod *corev1.Pod) map[hostPort][]string {
	out := map[hostPort][]string{}
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			ip, protocol := p.HostIP, p.Protocol
			if ip == "" {
				ip = anyAddress
			}
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			out[hostPort{protocol, p.HostPort}] = append(out[hostPort{protocol, p.HostPort}], ip)
		}
	}
	return out
}
