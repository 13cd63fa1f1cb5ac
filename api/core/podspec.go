package core

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// podSpec is one spec under validation, with what its parts must know of each
// other.
type podSpec struct {
	validate.Errors
	spec *corev1.PodSpec
	// meta is the pod's; nil for the spec of a template.
	meta *metav1.ObjectMeta
	// volumes are the valid volumes by name, claims the names of
	// spec.resourceClaims: what containers may refer to.
	volumes map[string]*corev1.VolumeSource
	claims  sets.Set[string]
	// hostUsers is true when the pod has no user namespace of its own.
	hostUsers bool
}

// isPod tells a pod's own spec from that of a template, where some values may
// still be missing.
func (s *podSpec) isPod() bool { return s.meta != nil }

// ValidatePodTemplate checks the template that a workload makes its pods from.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, fld *field.Path) field.ErrorList {
	var e validate.Errors
	e.Add(metav1validation.ValidateLabels(t.Labels, fld.Child("labels")))
	e.Add(apivalidation.ValidateAnnotations(t.Annotations, fld.Child("annotations")))
	e.Add(validatePodAnnotations(t.Annotations, &t.Spec, fld.Child("annotations")))
	e.Add(ValidatePodSpec(&t.Spec, nil, fld.Child("spec")))
	e.Add(validateProfileAnnotations(&t.ObjectMeta, &t.Spec, fld.Child("spec")))
	if len(t.Spec.EphemeralContainers) > 0 {
		e.Forbidden(fld.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
	return e.List()
}

// ValidatePodTemplateUpdate checks that a template did not change, which kinds
// with immutable templates (Job, say) demand.
func ValidatePodTemplateUpdate(t, old *corev1.PodTemplateSpec, fld *field.Path) field.ErrorList {
	if apiequality.Semantic.DeepEqual(t, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(fld, t, apivalidation.FieldImmutableErrorMsg)}
}

// ValidatePodSpec checks a defaulted spec. meta is the metadata of the pod that
// it is the spec of, or nil for the spec of a template.
func ValidatePodSpec(spec *corev1.PodSpec, meta *metav1.ObjectMeta, fld *field.Path) field.ErrorList {
	s := &podSpec{
		spec: spec, meta: meta,
		claims:    sets.New[string](),
		hostUsers: spec.HostUsers == nil || *spec.HostUsers,
	}
	for _, c := range spec.ResourceClaims {
		if c.Name != "" {
			s.claims.Insert(c.Name)
		}
	}
	if spec.TerminationGracePeriodSeconds == nil {
		s.Required(fld.Child("terminationGracePeriodSeconds"), "")
	}
	s.checkVolumes(fld.Child("volumes"))
	s.checkResourceClaims(fld.Child("resourceClaims"))
	s.checkContainers(fld.Child("containers"))
	s.checkInitContainers(fld.Child("initContainers"))
	s.checkEphemeralContainers(fld.Child("ephemeralContainers"))
	s.checkPodResources(fld)
	s.checkHostNetworkPorts(fld)
	validate.RequiredEnum(&s.Errors, fld.Child("restartPolicy"), spec.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	validate.RequiredEnum(&s.Errors, fld.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	s.Add(metav1validation.ValidateLabels(spec.NodeSelector, fld.Child("nodeSelector")))
	s.checkPodSecurityContext(fld.Child("securityContext"))
	s.checkAffinity(fld.Child("affinity"))
	s.checkDNSConfig(fld.Child("dnsConfig"))
	s.checkGates(fld)
	s.checkTopologySpread(fld.Child("topologySpreadConstraints"))
	s.checkWindowsHostProcess(fld)
	s.checkUserNamespace(fld)
	s.checkHostnames(fld)
	s.checkNames(fld)
	s.checkScalars(fld)
	s.checkTolerations(fld.Child("tolerations"))
	s.checkHostAliases(fld.Child("hostAliases"))
	s.checkOverhead(fld.Child("overhead"))
	s.checkOS(fld)
	s.checkEnvFileVolumes(fld)
	return s.List()
}

// checkNames checks references to other objects.
func (s *podSpec) checkNames(fld *field.Path) {
	spec := s.spec
	if spec.ServiceAccountName != "" {
		s.Name(fld.Child("serviceAccountName"), spec.ServiceAccountName, apivalidation.ValidateServiceAccountName)
	}
	if spec.NodeName != "" {
		s.Name(fld.Child("nodeName"), spec.NodeName, apivalidation.NameIsDNSSubdomain)
	}
	if spec.PriorityClassName != "" {
		s.Name(fld.Child("priorityClassName"), spec.PriorityClassName, apivalidation.NameIsDNSSubdomain)
	}
	if spec.RuntimeClassName != nil {
		s.Name(fld.Child("runtimeClassName"), *spec.RuntimeClassName, apivalidation.NameIsDNSSubdomain)
	}
}

func (s *podSpec) checkScalars(fld *field.Path) {
	spec := s.spec
	if d := spec.ActiveDeadlineSeconds; d != nil {
		s.Between(fld.Child("activeDeadlineSeconds"), *d, 1, math.MaxInt32)
	}
	if p := spec.PreemptionPolicy; p != nil {
		validate.RequiredEnum(&s.Errors, fld.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	if spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace && spec.HostPID {
		s.Invalid(fld.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
}

// checkGates checks readiness gates and scheduling gates.
func (s *podSpec) checkGates(fld *field.Path) {
	for i, g := range s.spec.ReadinessGates {
		s.QualifiedName(fld.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType))
	}
	seen := sets.New[string]()
	for i, g := range s.spec.SchedulingGates {
		p := fld.Child("schedulingGates").Index(i)
		s.QualifiedName(p, g.Name)
		if seen.Has(g.Name) {
			s.Duplicate(p, g.Name)
		}
		seen.Insert(g.Name)
	}
}

// checkHostNetworkPorts holds host ports to container ports in the host's
// network. A template may leave them out: the pod's defaults fill them.
func (s *podSpec) checkHostNetworkPorts(fld *field.Path) {
	if !s.spec.HostNetwork {
		return
	}
	for i, c := range s.spec.Containers {
		for j, port := range c.Ports {
			if port.HostPort != port.ContainerPort && (s.isPod() || port.HostPort != 0) {
				s.Invalid(fld.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort,
					"must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

// checkUserNamespace checks a pod with hostUsers: false, which can share no
// namespace with the host and use no raw devices.
func (s *podSpec) checkUserNamespace(fld *field.Path) {
	if s.hostUsers {
		return
	}
	const why = "when `hostUsers` is false"
	if s.spec.HostNetwork {
		s.Forbidden(fld.Child("hostNetwork"), why)
	}
	// These two are spelt as Kubernetes spells them.
	if s.spec.HostPID {
		s.Forbidden(fld.Child("HostPID"), why)
	}
	if s.spec.HostIPC {
		s.Forbidden(fld.Child("HostIPC"), why)
	}
	for c, p := range containers(s.spec, fld) {
		if len(c.VolumeDevices) > 0 {
			s.Forbidden(p.Child("volumeDevices"), why)
		}
	}
}

// checkOS checks spec.os and what may not be set for that system.
func (s *podSpec) checkOS(fld *field.Path) {
	os := s.spec.OS
	if os == nil {
		return
	}
	switch os.Name {
	case corev1.Linux:
		s.checkLinux(fld)
	case corev1.Windows:
		s.checkWindows(fld)
	case "":
		s.Required(fld.Child("os", "name"), "")
	default:
		validate.Enum(&s.Errors, fld.Child("os"), os.Name, corev1.Linux, corev1.Windows)
	}
}

// containers goes over all containers of a spec with their paths below fld:
// init containers, containers, ephemeral containers.
func containers(spec *corev1.PodSpec, fld *field.Path) func(yield func(*corev1.Container, *field.Path) bool) {
	return func(yield func(*corev1.Container, *field.Path) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i], fld.Child("initContainers").Index(i)) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i], fld.Child("containers").Index(i)) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			c := (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)
			if !yield(c, fld.Child("ephemeralContainers").Index(i)) {
				return
			}
		}
	}
}

// allContainers is containers without the paths, which cost more than the
// defaults that need none.
func allContainers(spec *corev1.PodSpec) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i]) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// hasContainer tells whether any kind of container has the name.
func hasContainer(spec *corev1.PodSpec, name string) bool {
	for c := range allContainers(spec) {
		if c.Name == name {
			return true
		}
	}
	return false
}

// isSidecar tells init containers that keep running beside the others.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
