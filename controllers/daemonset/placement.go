package daemonset

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// hashLabel tells the pods of one template from those of the others.
const hashLabel = appsv1.DefaultDaemonSetUniqueLabelKey

// placement says what a DaemonSet's pods have to do on a node.
type placement struct {
	run  bool // there should be one
	stay bool // one that is there may stay
}

// place finds out whether a node is one for the DaemonSet: by spec.nodeName,
// node selector and required affinity, and the node's taints. Being in want of
// resources or unschedulable does not count.
func place(ds *appsv1.DaemonSet, node *corev1.Node) placement {
	spec := &ds.Spec.Template.Spec
	if spec.NodeName != "" && spec.NodeName != node.Name {
		return placement{}
	}
	fits, err := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}).Match(node)
	if err != nil || !fits { // a selector that cannot be read fits no node
		return placement{}
	}
	tolerations := withTolerations(spec)
	untolerated := func(effects ...corev1.TaintEffect) bool {
		_, found := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, tolerations,
			func(taint *corev1.Taint) bool { return slices.Contains(effects, taint.Effect) }, true)
		return found
	}
	return placement{
		run:  !untolerated(corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule),
		stay: !untolerated(corev1.TaintEffectNoExecute),
	}
}

// withTolerations returns a template's tolerations and those that every
// daemon's pod has: it stays where others are evicted, and starts where others
// may not, since it may be what heals the node.
func withTolerations(spec *corev1.PodSpec) []corev1.Toleration {
	added := []struct {
		key    string
		effect corev1.TaintEffect
	}{
		{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute},
		{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute},
		{corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule},
	}
	if !spec.HostNetwork {
		added = added[:len(added)-1]
	}
	tolerations := slices.Clone(spec.Tolerations)
	for _, each := range added {
		toleration := corev1.Toleration{Key: each.key, Operator: corev1.TolerationOpExists, Effect: each.effect}
		if at := slices.IndexFunc(tolerations, func(t corev1.Toleration) bool { return t.MatchToleration(&toleration) }); at >= 0 {
			tolerations[at] = toleration // without the time that it may have
			continue
		}
		tolerations = append(tolerations, toleration)
	}
	return tolerations
}

// newPod returns the DaemonSet's pod for a node. The scheduler binds it; the
// affinity leaves it no choice.
func newPod(ds *appsv1.DaemonSet, ref metav1.OwnerReference, node, hash string) *corev1.Pod {
	pod := podctl.New(ds, ref, &ds.Spec.Template)
	pod.Labels = maps.Clone(pod.Labels)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[hashLabel] = hash
	if generation, err := strconv.ParseInt(ds.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64); err == nil {
		pod.Labels[templateGeneration] = strconv.FormatInt(generation, 10)
	}
	pod.Spec.Tolerations = withTolerations(&pod.Spec)
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.NodeAffinity == nil {
		pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}
	return pod
}

// templateGeneration is the label that older tools tell revisions by.
const templateGeneration = "pod-template-generation"

// nodeOf is the name of the node that a pod is on or is meant for; empty when
// that cannot be told.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}
