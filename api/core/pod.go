package core

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/fields"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Pod is the kind. Its spec is checked by podspec*.go, as are the templates
// that pods are made from; pod_update.go, pod_status.go and
// pod_subresources.go say what may change later, and pod_columns.go how a pod
// is printed.
var Pod = api.Of[corev1.Pod]{
	Group: "", Version: "v1", Kind: "Pod", Resource: "pods",
	ReturnDeleted: true,
	ShortNames:    []string{"po"},
	Categories:    []string{"all"},
	Generation:    true,
	Default:       defaultPod,

	PrepareCreate: preparePod,
	PrepareUpdate: func(pod, old *corev1.Pod) {
		if pod.Spec.Resources == nil { // a client that does not know of them
			pod.Spec.Resources = old.Spec.Resources.DeepCopy()
		}
		DropDisabledPodFields(&pod.Spec)
		dropInitAnnotations(pod)
	},

	Validate:       validatePod,
	ValidateCreate: validateNewPod,
	ValidateUpdate: ValidatePodUpdate,
	Warnings:       warnPod,

	Status: &api.Status[corev1.Pod]{
		Keep:          []string{"deletionTimestamp", "ownerReferences"},
		ResetOnCreate: func(pod *corev1.Pod) { pod.Status = corev1.PodStatus{Phase: corev1.PodPending} },
		PrepareUpdate: preparePodStatus,
		Validate:      ValidatePodStatusUpdate,
	},
	DeleteGrace: podDeleteGrace,

	Fields:        podFieldSet,
	Indexed:       []string{"spec.nodeName"},
	RowConditions: podRowConditions,
	Columns: []api.Column[corev1.Pod]{
		print.Name[corev1.Pod](),
		{
			Name: "Ready", Description: "The aggregate readiness state of this pod for accepting traffic.",
			Value: func(pod *corev1.Pod) any { return summarize(pod).readyCell() },
		},
		{
			Name: "Status", Description: "The aggregate status of the containers in this pod.",
			Value: func(pod *corev1.Pod) any { return summarize(pod).reason },
		},
		{
			Name: "Restarts", Description: "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
			Value: func(pod *corev1.Pod) any { return summarize(pod).restartsCell() },
		},
		print.Age[corev1.Pod](),
		{
			Name: "IP", Priority: 1, Description: corev1.PodStatus{}.SwaggerDoc()["podIP"],
			Value: func(pod *corev1.Pod) any { return print.OrNone(podIP(pod)) },
		},
		{
			Name: "Node", Priority: 1, Description: corev1.PodSpec{}.SwaggerDoc()["nodeName"],
			Value: func(pod *corev1.Pod) any { return print.OrNone(pod.Spec.NodeName) },
		},
		{
			Name: "Nominated Node", Priority: 1, Description: corev1.PodStatus{}.SwaggerDoc()["nominatedNodeName"],
			Value: func(pod *corev1.Pod) any { return print.OrNone(pod.Status.NominatedNodeName) },
		},
		{
			Name: "Readiness Gates", Priority: 1, Description: corev1.PodSpec{}.SwaggerDoc()["readinessGates"],
			Value: func(pod *corev1.Pod) any { return readinessGates(pod) },
		},
	},
}

// defaultPod fills what a client left out of a pod. Some of it templates do
// not have: it is decided when a pod is made.
func defaultPod(pod *corev1.Pod) {
	DefaultPodSpec(&pod.Spec)
	if g := pod.Spec.TerminationGracePeriodSeconds; *g < 0 {
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	}
	defaultPodIPs(&pod.Status)
	setPtr(&pod.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			requestLimits(&list[i].Resources)
			if pod.Spec.HostNetwork {
				defaultHostPorts(&list[i])
			}
		}
	}
}

func dropInitAnnotations(pod *corev1.Pod) {
	for _, key := range initAnnotations {
		delete(pod.Annotations, key)
	}
}

// initAnnotations are what init containers were before they had a field.
var initAnnotations = []string{
	"pod.beta.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-containers",
	"pod.beta.kubernetes.io/init-container-statuses", "pod.alpha.kubernetes.io/init-container-statuses",
}

// defaultHostPorts makes the ports of a container in the host's network what
// they are: ports of the host.
func defaultHostPorts(c *corev1.Container) {
	for i := range c.Ports {
		set(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
	}
}

// requestLimits makes a container ask for as much as it may use at most, where
// it does not say what it asks for.
func requestLimits(r *corev1.ResourceRequirements) {
	if r.Limits != nil && r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, q := range r.Limits {
		if _, set := r.Requests[name]; !set {
			r.Requests[name] = q.DeepCopy()
		}
	}
}

// addMissing adds an amount to a list, which may be nil, unless it has one.
func addMissing(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	if _, set := (*list)[name]; !set {
		(*list)[name] = q.DeepCopy()
	}
}

// defaultPodResources completes resources of the pod as a whole, when it has
// some: huge pages' limits are the sum of the containers', requests are the sum
// of the containers' requests or the pod's limits. It is done when the pod is
// made, as admission may add containers.
// See https://kep.k8s.io/2837.
func defaultPodResources(pod *corev1.Pod) {
	r := pod.Spec.Resources
	if r == nil || len(r.Limits)+len(r.Requests) == 0 {
		return
	}
	for name, sum := range resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{}) {
		if _, asked := r.Requests[name]; validate.IsHugePages(name) && !asked {
			addMissing(&r.Limits, name, sum)
		}
	}
	if len(r.Limits) == 0 {
		return
	}
	for name, sum := range resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if resourcehelper.IsSupportedPodLevelResource(name) && validate.Overcommits(name) {
			addMissing(&r.Requests, name, sum)
		}
	}
	for name, limit := range r.Limits {
		if resourcehelper.IsSupportedPodLevelResource(name) {
			addMissing(&r.Requests, name, limit)
		}
	}
}

// preparePod makes what a new pod is beside what its creator asked for.
func preparePod(pod *corev1.Pod) {
	DropDisabledPodFields(&pod.Spec)
	dropInitAnnotations(pod)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			LastTransitionTime: pod.CreationTimestamp,
			Reason:             corev1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
		})
	}
	mergeLabelKeys(&pod.Spec, pod.Labels)
	copyAppArmor(pod)
	defaultPodResources(pod)
	pod.Status.QOSClass = QOSClass(pod)
}

// copyAppArmor makes fields of the annotations that older clients set.
func copyAppArmor(pod *corev1.Pod) {
	if pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows {
		return
	}
	for c := range allContainers(&pod.Spec) {
		a, set := pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		if !set || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			continue
		}
		profile := appArmorField(a)
		if profile == nil || sameAppArmorProfile(profile, pod.Spec.SecurityContext) {
			continue
		}
		setPtr(&c.SecurityContext, corev1.SecurityContext{})
		c.SecurityContext.AppArmorProfile = profile
	}
}

// sameAppArmorProfile tells whether the whole pod has the profile already.
func sameAppArmorProfile(profile *corev1.AppArmorProfile, whole *corev1.PodSecurityContext) bool {
	return whole != nil && whole.AppArmorProfile != nil && whole.AppArmorProfile.Type == profile.Type &&
		ptr.Equal(whole.AppArmorProfile.LocalhostProfile, profile.LocalhostProfile)
}

// QOSClass is how safe a pod's memory is when a node runs out of it, from its
// requests and limits
// (https://kubernetes.io/docs/concepts/workloads/pods/pod-qos).
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass { return qos.ComputePodQOS(pod) }

// validatePod checks what holds for a pod at all times.
func validatePod(pod *corev1.Pod) field.ErrorList {
	fld := field.NewPath("spec")
	s := &podSpec{spec: &pod.Spec, meta: &pod.ObjectMeta}
	s.Add(validatePodAnnotations(pod.Annotations, &pod.Spec, field.NewPath("metadata", "annotations")))
	s.Add(ValidatePodSpec(&pod.Spec, &pod.ObjectMeta, fld))
	if pod.Spec.ServiceAccountName == "" {
		for i, v := range pod.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for j, source := range v.Projected.Sources {
				if source.ServiceAccountToken != nil {
					s.Forbidden(fld.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
						"must not be specified when serviceAccountName is not set")
				}
			}
		}
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		s.Nonnegative(fld.Child("terminationGracePeriodSeconds"), *g)
	}
	for i := range pod.Spec.Containers {
		s.checkImageSpaces(&pod.Spec.Containers[i], fld.Child("containers").Index(i))
	}
	for i := range pod.Spec.InitContainers {
		s.checkImageSpaces(&pod.Spec.InitContainers[i], fld.Child("initContainers").Index(i))
	}
	return s.List()
}

// validateNewPod checks what a pod may not begin with.
func validateNewPod(pod *corev1.Pod) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	if len(pod.Spec.EphemeralContainers) > 0 {
		e.Forbidden(fld.Child("ephemeralContainers"), "cannot be set on create")
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		e.Forbidden(fld.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	e.Add(validateProfileAnnotations(&pod.ObjectMeta, &pod.Spec, fld))
	return e.List()
}

// warnPod warns who creates a pod. Updates are made by machines, mostly.
func warnPod(pod, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var list []string
	if msgs := utilvalidation.IsDNS1123Label(pod.Name); len(msgs) > 0 {
		w := &warnings{}
		w.add(field.NewPath("metadata", "name"),
			"this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", msgs)
		list = w.list
	}
	return append(list, PodWarnings(pod)...)
}

// podDeleteGrace is how long a pod has to end: what the client or the spec
// says; nothing when no node runs it.
func podDeleteGrace(pod *corev1.Pod, asked *int64) int64 {
	if pod.Spec.NodeName == "" || isFinished(pod) {
		return 0
	}
	seconds := ptr.Deref(asked, ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, 0))
	if seconds < 0 {
		// Kubernetes never took "at once" for an answer here.
		return 1
	}
	return seconds
}

// isFinished tells whether no container of the pod will run again.
func isFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func podIP(pod *corev1.Pod) string {
	if len(pod.Status.PodIPs) > 0 {
		return pod.Status.PodIPs[0].IP
	}
	return ""
}

func podFieldSet(pod *corev1.Pod) fields.Set {
	return fields.Set{
		"spec.nodeName":           pod.Spec.NodeName,
		"spec.restartPolicy":      string(pod.Spec.RestartPolicy),
		"spec.schedulerName":      pod.Spec.SchedulerName,
		"spec.serviceAccountName": pod.Spec.ServiceAccountName,
		"spec.hostNetwork":        strconv.FormatBool(pod.Spec.HostNetwork),
		"status.phase":            string(pod.Status.Phase),
		"status.podIP":            podIP(pod),
		// Kubernetes knows the name and never had a value for it.
		"status.podIPs":            "",
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}
