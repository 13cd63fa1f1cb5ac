package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/skiffcluster/skiff/api/validate"
)

// preparePodStatus keeps what a node's agent may leave out of a status.
func preparePodStatus(pod, old *corev1.Pod) {
	is, was := &pod.Status, &old.Status
	set(&is.QOSClass, was.QOSClass)
	set(&is.ObservedGeneration, was.ObservedGeneration)
	if is.ResourceClaimStatuses == nil {
		is.ResourceClaimStatuses = was.ResourceClaimStatuses
	}
	if is.ExtendedResourceClaimStatus == nil {
		is.ExtendedResourceClaimStatus = was.ExtendedResourceClaimStatus
	}
	// Alpha: CSIVolumeHealth, DRANodeAllocatableResources.
	is.VolumeHealth, is.NodeAllocatableResourceClaimStatuses = nil, nil
	for i := range is.Conditions {
		c := &is.Conditions[i]
		j := slices.IndexFunc(was.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		if j >= 0 {
			set(&c.ObservedGeneration, was.Conditions[j].ObservedGeneration)
		}
	}
}

// defaultPodIPs keeps the one address and the first of the list the same for
// clients that set one of the two; the one wins over a list that differs.
func defaultPodIPs(s *corev1.PodStatus) {
	if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.PodIP == "" && len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// ValidatePodStatusUpdate checks a change of a pod's status.
func ValidatePodStatusUpdate(pod, old *corev1.Pod) field.ErrorList {
	c := &podStatus{pod: pod, old: old, fld: field.NewPath("status")}
	c.Add(validateAnnotationUpdate(pod, old))
	c.checkConditions()
	if pod.Spec.NodeName != old.Spec.NodeName {
		c.Forbidden(c.fld.Child("nodeName"), "may not be changed directly")
	}
	c.checkNomination()
	if pod.Status.ObservedGeneration < 0 {
		c.Invalid(c.fld.Child("observedGeneration"), pod.Status.ObservedGeneration, "must be a non-negative integer")
	}
	c.Add(apivalidation.ValidateImmutableField(pod.Status.QOSClass, old.Status.QOSClass, c.fld.Child("qosClass")))
	c.checkRestarts()
	c.checkClaimStatuses()
	c.checkAddresses()
	for name, list := range c.containerStatuses {
		c.checkUsers(list, c.fld.Child(name))
	}
	c.checkDevices(pod.Status.ContainerStatuses, pod.Spec.Containers, c.fld.Child("containerStatuses"))
	c.checkDevices(pod.Status.InitContainerStatuses, pod.Spec.InitContainers, c.fld.Child("initContainerStatuses"))
	for i, s := range pod.Status.EphemeralContainerStatuses {
		if len(s.AllocatedResourcesStatus) > 0 {
			c.Forbidden(c.fld.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus"),
				"must not be specified in container status")
		}
	}
	for name, list := range c.containerStatuses {
		c.checkMountStatuses(list, c.fld.Child(name))
	}
	return c.List()
}

// podStatus is one change of status under validation.
type podStatus struct {
	validate.Errors
	pod, old *corev1.Pod
	fld      *field.Path
}

// containerStatuses goes over the three lists with their names.
func (c *podStatus) containerStatuses(yield func(string, []corev1.ContainerStatus) bool) {
	s := &c.pod.Status
	_ = yield("containerStatuses", s.ContainerStatuses) &&
		yield("initContainerStatuses", s.InitContainerStatuses) &&
		yield("ephemeralContainerStatuses", s.EphemeralContainerStatuses)
}

func (c *podStatus) checkConditions() {
	for i, condition := range c.pod.Status.Conditions {
		p := c.fld.Child("conditions").Index(i)
		if condition.ObservedGeneration < 0 {
			c.Invalid(p.Child("observedGeneration"), condition.ObservedGeneration, "must be a non-negative integer")
		}
		switch condition.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			c.QualifiedName(p.Child("Type"), string(condition.Type))
		}
	}
}

// checkNomination checks the node that the scheduler is making room on.
func (c *podStatus) checkNomination() {
	is, p := c.pod.Status.NominatedNodeName, c.fld.Child("nominatedNodeName")
	if is == "" || is == c.old.Status.NominatedNodeName {
		return
	}
	c.Name(p, is, apivalidation.NameIsDNSSubdomain)
	if c.old.Spec.NodeName != "" {
		c.Forbidden(p, "may not be set on pods that are already bound to a node")
	}
}

// checkRestarts reports containers that were at their end and are not any more.
func (c *podStatus) checkRestarts() {
	spec := &c.old.Spec
	check := func(name string, is, was []corev1.ContainerStatus, mayRestart func(name string, exitCode int32) bool) {
		for i, o := range was {
			if o.State.Terminated == nil || mayRestart(o.Name, o.State.Terminated.ExitCode) {
				continue
			}
			if slices.ContainsFunc(is, func(n corev1.ContainerStatus) bool { return n.Name == o.Name && n.State.Terminated == nil }) {
				c.Forbidden(c.fld.Child(name).Index(i).Child("state"), "may not be transitioned to non-terminated state")
			}
		}
	}
	from := func(list []corev1.Container) func(string, int32) bool {
		return func(name string, code int32) bool {
			i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name })
			return restartsAll(spec) || i >= 0 && restarts(spec, &list[i], code)
		}
	}
	is, was := &c.pod.Status, &c.old.Status
	check("containerStatuses", is.ContainerStatuses, was.ContainerStatuses, from(spec.Containers))
	check("initContainerStatuses", is.InitContainerStatuses, was.InitContainerStatuses, from(spec.InitContainers))
	check("ephemeralContainerStatuses", is.EphemeralContainerStatuses, was.EphemeralContainerStatuses,
		func(string, int32) bool { return false })
}

// restarts tells whether a container runs again after it ended with a code:
// by the first rule that fits, its own policy, or the pod's.
func restarts(spec *corev1.PodSpec, c *corev1.Container, code int32) bool {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil {
			continue
		}
		in := slices.Contains(r.ExitCodes.Values, code)
		if r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn && in ||
			r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpNotIn && !in {
			return true
		}
	}
	policy := string(spec.RestartPolicy)
	if c.RestartPolicy != nil {
		policy = string(*c.RestartPolicy)
	}
	return policy == string(corev1.RestartPolicyAlways) || policy == string(corev1.RestartPolicyOnFailure) && code != 0
}

// restartsAll tells whether the end of one container may start all again.
func restartsAll(spec *corev1.PodSpec) bool {
	for c := range allContainers(spec) {
		for _, r := range c.RestartPolicyRules {
			if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

func (c *podStatus) checkClaimStatuses() {
	spec, seen := &c.pod.Spec, sets.New[string]()
	for i, s := range c.pod.Status.ResourceClaimStatuses {
		p := c.fld.Child("resourceClaimStatuses").Index(i)
		if !slices.ContainsFunc(spec.ResourceClaims, func(r corev1.PodResourceClaim) bool { return r.Name == s.Name }) {
			c.Invalid(p.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if seen.Has(s.Name) {
			c.Duplicate(p.Child("name"), s.Name)
		}
		seen.Insert(s.Name)
		if s.ResourceClaimName != nil {
			c.Name(p.Child("resourceClaimName"), *s.ResourceClaimName, apivalidation.NameIsDNSSubdomain)
		}
	}
	c.checkExtendedClaim(c.fld.Child("extendedResourceClaimStatus"))
}

// checkExtendedClaim checks which devices stand for which extended resources.
func (c *podStatus) checkExtendedClaim(p *field.Path) {
	s := c.pod.Status.ExtendedResourceClaimStatus
	if s == nil {
		return
	}
	if len(s.RequestMappings) == 0 {
		c.Required(p.Child("requestMappings"), "at least one request mapping is required")
	}
	seen := sets.New[corev1.ContainerExtendedResourceRequest]()
	for i, m := range s.RequestMappings {
		at := p.Child("requestMappings").Index(i)
		if container := findContainer(&c.pod.Spec, m.ContainerName); container == nil {
			c.Invalid(at.Child("containerName"), m.ContainerName,
				"must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, asked := container.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !asked {
			c.Invalid(at.Child("resourceName"), m.ResourceName,
				"must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		c.DNSLabel(p.Child("requestName"), m.RequestName)
		if seen.Has(m) {
			c.Duplicate(at.Child("containerName"), m.ContainerName)
			c.Duplicate(at.Child("resourceName"), m.ResourceName)
			c.Duplicate(at.Child("requestName"), m.RequestName)
		}
		seen.Insert(m)
	}
	if s.ResourceClaimName == "" {
		c.Required(p.Child("resourceClaimName"), "")
	} else {
		c.Name(p.Child("resourceClaimName"), s.ResourceClaimName, apivalidation.NameIsDNSSubdomain)
	}
}

// findContainer is the container or init container of a name, or nil.
func findContainer(spec *corev1.PodSpec, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func (c *podStatus) checkAddresses() {
	s, p := &c.pod.Status, c.fld.Child("podIPs")
	ips := make([]string, len(s.PodIPs))
	for i, ip := range s.PodIPs {
		ips[i] = ip.IP
	}
	var before []string
	for _, ip := range c.old.Status.PodIPs {
		before = append(before, ip.IP)
	}
	c.checkIPs(ips, before, s.PodIPs, p)
	switch {
	case (s.PodIP != "") != (len(ips) > 0):
		c.Invalid(p, s.PodIPs, "podIP and podIPs must either both be set or both be unset")
	case len(ips) > 0 && s.PodIP != ips[0]:
		c.Invalid(p.Index(0).Child("ip"), ips[0], "must be equal to `podIP`")
	}

	if len(s.HostIPs) == 0 {
		return
	}
	p, ips, before = c.fld.Child("hostIPs"), make([]string, len(s.HostIPs)), nil
	for i, ip := range s.HostIPs {
		ips[i] = ip.IP
	}
	for _, ip := range c.old.Status.HostIPs {
		before = append(before, ip.IP)
	}
	if s.HostIP != ips[0] {
		c.Invalid(p.Index(0).Child("ip"), ips[0], "must be equal to `hostIP`")
	}
	c.checkIPs(ips, before, s.HostIPs, p)
}

// checkIPs checks addresses, of which there is one for each family. value is
// the list as it is shown.
func (c *podStatus) checkIPs(ips, before []string, value any, p *field.Path) {
	for i, ip := range ips {
		c.IP(p.Index(i), ip, before...)
	}
	if len(ips) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		c.Internal(p, fmt.Errorf("failed to check for dual stack with error:%w", err))
	}
	if !dual || len(ips) > 2 {
		c.Invalid(p, value, "may specify no more than one IP for each IP family")
	}
}

// checkUsers checks as whom containers were started.
func (c *podStatus) checkUsers(list []corev1.ContainerStatus, fld *field.Path) {
	windows := c.pod.Spec.OS != nil && c.pod.Spec.OS.Name == corev1.Windows
	for i, s := range list {
		if s.User == nil || s.User.Linux == nil {
			continue
		}
		p, u := fld.Index(i).Child("user", "linux"), s.User.Linux
		if windows {
			c.Forbidden(p, "cannot be set for a windows pod")
			continue
		}
		// What a runtime reports may be any number that Linux knows.
		if u.UID < 0 || u.UID > math.MaxUint32 {
			c.Invalidf(p.Child("uid"), u.UID, "must be between 0 and %d, inclusive", int64(math.MaxUint32))
		}
		c.GroupID(p.Child("gid"), &u.GID)
		for j := range u.SupplementalGroups {
			c.GroupID(p.Child("supplementalGroups").Index(j), &u.SupplementalGroups[j])
		}
	}
}

// checkDevices checks the health that is reported of containers' devices.
func (c *podStatus) checkDevices(list []corev1.ContainerStatus, containers []corev1.Container, fld *field.Path) {
	for i, s := range list {
		at := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == s.Name })
		for j, r := range s.AllocatedResourcesStatus {
			p := fld.Index(i).Child("allocatedResourcesStatus").Index(j)
			if at >= 0 {
				c.checkDeviceName(r.Name, &containers[at], p.Child("name"))
			}
			seen := sets.New[corev1.ResourceID]()
			for k, h := range r.Resources {
				health := p.Child("resources").Index(k)
				validate.Enum(&c.Errors, health.Child("health"), h.Health,
					corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
				if seen.Has(h.ResourceID) {
					c.Duplicate(health.Child("resourceID"), h.ResourceID)
				}
				seen.Insert(h.ResourceID)
			}
		}
	}
}

func (c *podStatus) checkDeviceName(name corev1.ResourceName, container *corev1.Container, p *field.Path) {
	claim, isClaim := strings.CutPrefix(string(name), "claim:")
	if !isClaim {
		if _, asked := container.Resources.Requests[name]; !asked {
			c.Invalid(p, name, "must match one of the container's resource requests")
		}
		return
	}
	found := slices.ContainsFunc(container.Resources.Claims, func(r corev1.ResourceClaim) bool {
		return claim == r.Name && r.Request == "" || claim == r.Name+"/"+r.Request && r.Request != ""
	})
	if e := c.pod.Status.ExtendedResourceClaimStatus; !found && e != nil {
		found = slices.ContainsFunc(e.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
			return m.ContainerName == container.Name && claim == e.ResourceClaimName+"/"+m.RequestName
		})
	}
	if !found {
		c.Invalid(p, name, "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' "+
			"when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty")
	}
}

// maxImageRef is how long the reference of an image volume may be.
const maxImageRef = 256

func (c *podStatus) checkMountStatuses(list []corev1.ContainerStatus, fld *field.Path) {
	for i, s := range list {
		for j, m := range s.VolumeMounts {
			if m.VolumeStatus == nil || m.VolumeStatus.Image == nil {
				continue
			}
			p := fld.Index(i).Child("volumeMounts").Index(j).Child("volumeStatus", "imageVolumeStatus", "imageRef")
			if ref := m.VolumeStatus.Image.ImageRef; ref == "" {
				c.Required(p, "imageRef must not be empty")
			} else if len(ref) > maxImageRef {
				c.TooLong(p, maxImageRef)
			}
		}
	}
}
