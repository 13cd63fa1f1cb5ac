package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observed is what a node's status is made of.
type Observed struct {
	Capacity, Allocatable corev1.ResourceList
	Addresses             []corev1.NodeAddress
	Info                  corev1.NodeSystemInfo
	Port                  int32 // of the agent's API
	Images                []corev1.ContainerImage
	// Pressure by condition type.
	Pressure map[corev1.NodeConditionType]bool
	// NotReady is why the node can't run pods, nil if it can.
	NotReady error
}

// declaredFeatures are those that the API server and schedulers look for on a
// node before they let a pod have them, in order.
var declaredFeatures = []string{"InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers"}

// planResources gives what the node has and what of it is for pods. Resources that
// others have told of, as example.com/gpu, stay: all of them are for pods, as with a
// kubelet, and none any more once they are not told of.
func planResources(old *corev1.NodeStatus, o Observed) (capacity, allocatable corev1.ResourceList) {
	capacity, allocatable = o.Capacity.DeepCopy(), o.Allocatable.DeepCopy()
	for name, q := range old.Capacity {
		if _, own := o.Capacity[name]; !own && extended(name) {
			capacity[name], allocatable[name] = q, q
		}
	}
	return capacity, allocatable
}

func extended(name corev1.ResourceName) bool { return strings.Contains(string(name), "/") }

// planStatus makes a node's status; old is what the API has, nil for none.
// Conditions and fields of others stay.
func planStatus(old *corev1.NodeStatus, o Observed, now time.Time) corev1.NodeStatus {
	out := corev1.NodeStatus{}
	if old != nil {
		out = *old.DeepCopy()
	}
	out.Capacity, out.Allocatable = planResources(&out, o)
	out.Addresses = o.Addresses
	out.NodeInfo = o.Info
	out.Images = o.Images
	out.DaemonEndpoints.KubeletEndpoint.Port = o.Port
	out.DeclaredFeatures = declaredFeatures
	own := []corev1.NodeCondition{
		pressure(o, corev1.NodeMemoryPressure, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		pressure(o, corev1.NodeDiskPressure, "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		pressure(o, corev1.NodePIDPressure, "KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		ready(o),
	}
	heartbeat := metav1.Time{Time: now.Truncate(time.Second)}
	var conditions []corev1.NodeCondition
	for _, c := range own {
		c.LastHeartbeatTime, c.LastTransitionTime = heartbeat, heartbeat
		if old != nil {
			if before := findCondition(old.Conditions, c.Type); before != nil && before.Status == c.Status {
				c.LastTransitionTime = before.LastTransitionTime
			}
		}
		conditions = append(conditions, c)
	}
	for _, c := range out.Conditions {
		if findCondition(conditions, c.Type) == nil {
			conditions = append(conditions, c)
		}
	}
	out.Conditions = conditions
	return out
}

func findCondition(list []corev1.NodeCondition, t corev1.NodeConditionType) *corev1.NodeCondition {
	if i := slices.IndexFunc(list, func(c corev1.NodeCondition) bool { return c.Type == t }); i >= 0 {
		return &list[i]
	}
	return nil
}

func pressure(o Observed, t corev1.NodeConditionType, badReason, bad, goodReason, good string) corev1.NodeCondition {
	if o.Pressure[t] {
		return corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue, Reason: badReason, Message: bad}
	}
	return corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: goodReason, Message: good}
}

func ready(o Observed) corev1.NodeCondition {
	if o.NotReady != nil {
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: o.NotReady.Error()}
	}
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
}

type event struct{ reason, message string }

// planEvents tells of conditions that have changed, as the kubelet does.
func planEvents(from, to *corev1.NodeStatus, name string) []event {
	reasons := map[corev1.NodeConditionType][2]string{ // when true, when false
		corev1.NodeReady:          {"NodeReady", "NodeNotReady"},
		corev1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
		corev1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
		corev1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
	}
	var out []event
	for _, c := range to.Conditions {
		names, own := reasons[c.Type]
		if !own {
			continue
		}
		if old := findCondition(from.Conditions, c.Type); old != nil && old.Status == c.Status {
			continue
		}
		reason := names[1]
		if c.Status == corev1.ConditionTrue {
			reason = names[0]
		}
		out = append(out, event{reason, fmt.Sprintf("Node %s status is now: %s", name, reason)})
	}
	return out
}
