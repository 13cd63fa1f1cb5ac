package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

func (s *podSpec) checkContainers(fld *field.Path) {
	if len(s.spec.Containers) == 0 {
		s.Required(fld, "")
		return
	}
	names := sets.New[string]()
	for i := range s.spec.Containers {
		c, p := &s.spec.Containers[i], fld.Index(i)
		s.checkContainer(c, p)
		s.uniqueName(names, c.Name, p)
		s.checkLongRunning(c, p)
		s.checkRestart(c, p)
	}
	// Containers run side by side, so that a port can only be had once.
	s.checkHostPorts(fld, s.spec.Containers...)
}

func (s *podSpec) checkInitContainers(fld *field.Path) {
	names := sets.New[string]()
	for _, c := range s.spec.Containers {
		names.Insert(c.Name)
	}
	for i := range s.spec.InitContainers {
		c, p := &s.spec.InitContainers[i], fld.Index(i)
		s.checkContainer(c, p)
		s.checkRestart(c, p)
		s.uniqueName(names, c.Name, p)
		// They run one after the other; only the ports of one can clash. The
		// path has no index: Kubernetes counts the one container from zero.
		s.checkHostPorts(fld, *c)
		if isSidecar(c) {
			s.checkLongRunning(c, p)
			continue
		}
		s.forbidLongRunning(c, p)
		for j, r := range c.ResizePolicy {
			if r.RestartPolicy == corev1.RestartContainer {
				s.Invalid(p.Child("resizePolicy").Index(j).Child("restartPolicy"), r.RestartPolicy,
					"must not be set to 'RestartContainer' for non-sidecar initContainers")
			}
		}
	}
}

// checkEphemeralContainers checks those added to a running pod for debugging.
// They may have no part in the pod's work: no ports, probes or resources.
func (s *podSpec) checkEphemeralContainers(fld *field.Path) {
	const why = "cannot be set for an Ephemeral Container"
	targets := sets.New[string]()
	for _, c := range s.spec.InitContainers {
		targets.Insert(c.Name)
	}
	for _, c := range s.spec.Containers {
		targets.Insert(c.Name)
	}
	names := targets.Clone()
	for i := range s.spec.EphemeralContainers {
		ec, p := &s.spec.EphemeralContainers[i], fld.Index(i)
		c := (*corev1.Container)(&ec.EphemeralContainerCommon)
		s.checkContainer(c, p)
		s.checkImageSpaces(c, p)
		s.uniqueName(names, c.Name, p)
		if ec.TargetContainerName != "" && !targets.Has(ec.TargetContainerName) {
			s.NotFound(p.Child("targetContainerName"), ec.TargetContainerName)
		}
		for _, f := range validate.SetFields(ec.EphemeralContainerCommon) {
			if ephemeralForbidden.Has(f) {
				s.Forbidden(p.Child(f), why)
			}
		}
		for j, m := range ec.VolumeMounts {
			if m.SubPath != "" {
				s.Forbidden(p.Child("volumeMounts").Index(j).Child("subPath"), why)
			}
			if m.SubPathExpr != "" {
				s.Forbidden(p.Child("volumeMounts").Index(j).Child("subPathExpr"), why)
			}
		}
	}
}

// ephemeralForbidden are the fields that ephemeral containers have only
// because they share a type with the others.
var ephemeralForbidden = sets.New("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules",
	"livenessProbe", "readinessProbe", "startupProbe", "lifecycle")

// uniqueName reports a name that another container has and keeps it in names.
func (s *podSpec) uniqueName(names sets.Set[string], name string, p *field.Path) {
	if names.Has(name) {
		s.Duplicate(p.Child("name"), name)
		return
	}
	names.Insert(name)
}

// checkContainer checks what containers of every sort have in common.
func (s *podSpec) checkContainer(c *corev1.Container, p *field.Path) {
	s.RequiredDNSLabel(p.Child("name"), c.Name)
	s.Text(p.Child("image"), c.Image)
	validate.RequiredEnum(&s.Errors, p.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	s.checkPorts(c.Ports, p.Child("ports"))
	s.checkEnv(c.Env, p.Child("env"))
	s.checkEnvFrom(c.EnvFrom, p.Child("envFrom"))
	s.checkMounts(c, p.Child("volumeMounts"))
	s.checkDevices(c, p.Child("volumeDevices"))
	s.checkPullPolicy(p.Child("imagePullPolicy"), c.ImagePullPolicy)
	s.checkResources(&c.Resources, p.Child("resources"), (*validate.Errors).ContainerResourceName)
	s.checkResizePolicy(c.ResizePolicy, p.Child("resizePolicy"))
	s.checkSecurityContext(c.SecurityContext, p.Child("securityContext"))
}

// checkPullPolicy checks when an image is pulled.
func (s *podSpec) checkPullPolicy(p *field.Path, policy corev1.PullPolicy) {
	validate.RequiredEnum(&s.Errors, p, policy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// checkImageSpaces reports blanks around an image. Templates may have them:
// some systems put " " there as a placeholder that they fill in later.
func (s *podSpec) checkImageSpaces(c *corev1.Container, p *field.Path) {
	if strings.TrimSpace(c.Image) != c.Image {
		s.Invalid(p.Child("image"), c.Image, "must not have leading or trailing whitespace")
	}
}

func (s *podSpec) checkPorts(ports []corev1.ContainerPort, fld *field.Path) {
	names := sets.New[string]()
	for i, port := range ports {
		p := fld.Index(i)
		if port.Name != "" {
			switch msgs := validation.IsValidPortName(port.Name); {
			case len(msgs) > 0:
				s.Messages(p.Child("name"), port.Name, msgs)
			case names.Has(port.Name):
				s.Duplicate(p.Child("name"), port.Name)
			default:
				names.Insert(port.Name)
			}
		}
		if port.ContainerPort == 0 {
			s.Required(p.Child("containerPort"), "")
		} else {
			s.PortNumber(p.Child("containerPort"), port.ContainerPort)
		}
		if port.HostPort != 0 {
			s.PortNumber(p.Child("hostPort"), port.HostPort)
		}
		validate.RequiredEnum(&s.Errors, p.Child("protocol"), port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
	}
}

// hostPort is what one container has of the host's ports.
type hostPort struct {
	protocol corev1.Protocol
	ip       string
	port     int32
}

func (h hostPort) String() string { return fmt.Sprintf("%s/%s/%d", h.protocol, h.ip, h.port) }

// checkHostPorts reports ports of the host that two of the containers ask for.
func (s *podSpec) checkHostPorts(fld *field.Path, containers ...corev1.Container) {
	seen := sets.New[hostPort]()
	for i, c := range containers {
		for j, port := range c.Ports {
			if port.HostPort == 0 {
				continue
			}
			key := hostPort{port.Protocol, port.HostIP, port.HostPort}
			if seen.Has(key) {
				s.Duplicate(fld.Index(i).Child("ports").Index(j).Child("hostPort"), key.String())
			}
			seen.Insert(key)
		}
	}
}

func (s *podSpec) checkResizePolicy(policies []corev1.ContainerResizePolicy, fld *field.Path) {
	seen := sets.New[corev1.ResourceName]()
	for i, p := range policies {
		if seen.Has(p.ResourceName) {
			s.Duplicate(fld.Index(i), p.ResourceName)
		}
		seen.Insert(p.ResourceName)
		validate.RequiredEnum(&s.Errors, fld, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		validate.RequiredEnum(&s.Errors, fld, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if s.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			s.Invalid(fld, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

// Limits of restart rules
// (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy).
const (
	maxRestartRules     = 20
	maxRestartExitCodes = 255
)

// checkRestart checks a container's own restart policy and its rules.
func (s *podSpec) checkRestart(c *corev1.Container, p *field.Path) {
	switch policy := c.RestartPolicy; {
	case policy != nil:
		validate.Enum(&s.Errors, p.Child("restartPolicy"), *policy,
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	case len(c.RestartPolicyRules) > 0:
		s.Required(p.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
	}
	if n := len(c.RestartPolicyRules); n > maxRestartRules {
		s.TooMany(p.Child("restartPolicyRules"), n, maxRestartRules)
	}
	for i, r := range c.RestartPolicyRules {
		rule := p.Child("restartPolicyRules").Index(i)
		validate.Enum(&s.Errors, rule.Child("action"), r.Action,
			corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if r.ExitCodes == nil {
			s.Required(rule.Child("exitCodes"), "must be specified")
			continue
		}
		validate.Enum(&s.Errors, rule.Child("exitCodes", "operator"), r.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(r.ExitCodes.Values); n > maxRestartExitCodes {
			s.TooMany(rule.Child("exitCodes", "values"), n, maxRestartExitCodes)
		}
	}
}
