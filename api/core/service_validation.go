package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	// kubeletPort is not to be opened to the world by a load balancer.
	kubeletPort = 10250
	// maxAffinitySeconds is one day.
	maxAffinitySeconds = 86400
	// loadBalancerOnly is said of fields that other types do not have.
	loadBalancerOnly = "may only be used when `type` is 'LoadBalancer'"
	fixed            = "may not change once set"
)

func validateService(s *corev1.Service) field.ErrorList {
	var e validate.Errors
	spec, fld := &s.Spec, field.NewPath("spec")
	if len(spec.Ports) == 0 && !isHeadless(s) && spec.Type != corev1.ServiceTypeExternalName {
		e.Required(fld.Child("ports"), "")
	}
	checkServiceType(&e, s, fld)
	checkServicePorts(&e, s, fld.Child("ports"))
	if spec.Selector != nil {
		e.Add(metav1validation.ValidateLabels(spec.Selector, fld.Child("selector")))
	}
	checkSessionAffinity(&e, spec, fld)
	checkClusterIPs(&e, s, nil, fld)
	for i, ip := range spec.ExternalIPs {
		p := fld.Child("externalIPs").Index(i)
		if errs := validation.IsValidIPForLegacyField(p, ip, true, nil); len(errs) > 0 {
			e.Add(errs)
		} else {
			checkNonSpecialIP(&e, ip, p)
		}
	}
	validate.RequiredEnum(&e, fld.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	checkDuplicatePorts(&e, spec, fld.Child("ports"))
	checkLoadBalancer(&e, s, fld)
	checkTrafficPolicies(&e, s, fld)
	return e.List()
}

// checkServiceType checks what each type demands.
func checkServiceType(e *validate.Errors, s *corev1.Service, fld *field.Path) {
	spec := &s.Spec
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		for i, port := range spec.Ports {
			if port.Port == kubeletPort {
				e.Invalidf(fld.Child("ports").Index(i), port.Port, "may not expose port %v externally since it is used by kubelet", kubeletPort)
			}
		}
		if isHeadless(s) {
			e.Invalid(fld.Child("clusterIPs").Index(0), corev1.ClusterIPNone, "may not be set to 'None' for LoadBalancer services")
		}
	case corev1.ServiceTypeNodePort:
		if isHeadless(s) {
			e.Invalid(fld.Child("clusterIPs").Index(0), corev1.ClusterIPNone, "may not be set to 'None' for NodePort services")
		}
	case corev1.ServiceTypeExternalName:
		const not = "may not be set for ExternalName services"
		if len(spec.ClusterIPs) > 0 {
			e.Forbidden(fld.Child("clusterIPs"), not)
		}
		if len(spec.IPFamilies) > 0 {
			e.Forbidden(fld.Child("ipFamilies"), not)
		}
		if spec.IPFamilyPolicy != nil {
			e.Forbidden(fld.Child("ipFamilyPolicy"), not)
		}
		// A dot at the end says that the name is complete.
		if name := strings.TrimSuffix(spec.ExternalName, "."); name != "" {
			e.DNSSubdomain(fld.Child("externalName"), name)
		} else {
			e.Required(fld.Child("externalName"), "")
		}
	}
}

func checkServicePorts(e *validate.Errors, s *corev1.Service, fld *field.Path) {
	names := sets.New[string]()
	for i, port := range s.Spec.Ports {
		p := fld.Index(i)
		switch {
		case port.Name == "" && len(s.Spec.Ports) > 1:
			e.Required(p.Child("name"), "")
		case port.Name != "":
			e.DNSLabel(p.Child("name"), port.Name)
			if names.Has(port.Name) {
				e.Duplicate(p.Child("name"), port.Name)
			}
			names.Insert(port.Name)
		}
		e.PortNumber(p.Child("port"), port.Port)
		checkProtocol(e, port.Protocol, p.Child("protocol"))
		e.PortNumberOrName(p.Child("targetPort"), port.TargetPort)
		if port.AppProtocol != nil {
			e.QualifiedName(p.Child("appProtocol"), *port.AppProtocol)
		}
		if s.Spec.Type == corev1.ServiceTypeClusterIP && port.NodePort != 0 {
			e.Forbidden(p.Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
		}
	}
}

// checkProtocol checks the transport of a port, which has been defaulted.
func checkProtocol(e *validate.Errors, protocol corev1.Protocol, fld *field.Path) {
	validate.RequiredEnum(e, fld, protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}

func checkDuplicatePorts(e *validate.Errors, spec *corev1.ServiceSpec, fld *field.Path) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	nodePorts, ports := sets.New[key](), sets.New[key]()
	for i, port := range spec.Ports {
		k := key{port.Protocol, port.NodePort}
		if port.NodePort != 0 && nodePorts.Has(k) {
			e.Duplicate(fld.Index(i).Child("nodePort"), port.NodePort)
		}
		nodePorts.Insert(k)
	}
	for i, port := range spec.Ports {
		k := key{port.Protocol, port.Port}
		if ports.Has(k) {
			e.Duplicate(fld.Index(i), corev1.ServicePort{Protocol: port.Protocol, Port: port.Port})
		}
		ports.Insert(k)
	}
}

func checkSessionAffinity(e *validate.Errors, spec *corev1.ServiceSpec, fld *field.Path) {
	validate.RequiredEnum(e, fld.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	config, p := spec.SessionAffinityConfig, fld.Child("sessionAffinityConfig")
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if config != nil {
			e.Forbidden(p, "must not be set when session affinity is None")
		}
	case corev1.ServiceAffinityClientIP:
		const when = "when session affinity type is ClientIP"
		switch {
		case config == nil:
			e.Required(p, when)
		case config.ClientIP == nil:
			e.Required(p.Child("clientIP"), when)
		case config.ClientIP.TimeoutSeconds == nil:
			e.Required(p.Child("clientIP", "timeoutSeconds"), when)
		default:
			if n := *config.ClientIP.TimeoutSeconds; n <= 0 || n > maxAffinitySeconds {
				e.Invalidf(p.Child("clientIP", "timeoutSeconds"), n, "must be greater than 0 and less than %d", maxAffinitySeconds)
			}
		}
	}
}

// ValidateClusterIPs checks the addresses and families that a client asks for,
// before the server adds its own. What old has, which may be nil, stays valid.
func ValidateClusterIPs(s, old *corev1.Service) field.ErrorList {
	var e validate.Errors
	var existing []string
	if old != nil {
		existing = old.Spec.ClusterIPs
	}
	checkClusterIPs(&e, s, existing, field.NewPath("spec"))
	return e.List()
}

// checkClusterIPs checks the addresses and how they go with the families. That
// addresses are there, and in range, is the allocator's affair.
func checkClusterIPs(e *validate.Errors, s *corev1.Service, existing []string, fld *field.Path) {
	spec, ips := &s.Spec, fld.Child("clusterIPs")
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	before := e.Len()
	switch {
	case spec.ClusterIP == "":
		if len(spec.ClusterIPs) > 0 {
			e.Invalid(ips, spec.ClusterIPs, "must be empty when `clusterIP` is not specified")
		}
	case len(spec.ClusterIPs) == 0:
		e.Required(ips, "")
	case spec.ClusterIPs[0] != spec.ClusterIP:
		e.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`")
	}
	checkFamilies(e, spec, fld)
	if !checkEachClusterIP(e, spec, existing, ips) {
		return // what follows would only confuse
	}
	if len(spec.ClusterIPs) > 1 {
		if dual, err := netutils.IsDualStackIPStrings(spec.ClusterIPs); err != nil {
			e.Internal(ips, fmt.Errorf("failed to check for dual stack with error:%w", err))
		} else if !dual {
			e.Invalid(ips, spec.ClusterIPs, "may specify no more than one IP for each IP family")
		}
	}
	if isHeadless(s) || e.Len() > before {
		return
	}
	for i, ip := range spec.ClusterIPs[:min(len(spec.ClusterIPs), len(spec.IPFamilies))] {
		is := corev1.IPv4Protocol
		if netutils.IsIPv6String(ip) {
			is = corev1.IPv6Protocol
		}
		if want := spec.IPFamilies[i]; want != is {
			e.Invalidf(ips.Index(i), ip, "expected an %s value as indicated by `ipFamilies[%v]`", want, i)
		}
	}
}

func checkFamilies(e *validate.Errors, spec *corev1.ServiceSpec, fld *field.Path) {
	seen := sets.New[corev1.IPFamily]()
	for i, family := range spec.IPFamilies {
		p := fld.Child("ipFamilies").Index(i)
		validate.Enum(e, p, family, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if seen.Has(family) {
			e.Duplicate(p, family)
		}
		seen.Insert(family)
	}
	if policy := spec.IPFamilyPolicy; policy != nil {
		validate.Enum(e, fld.Child("ipFamilyPolicy"), *policy,
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	}
}

// checkEachClusterIP is false when an address is not valid by itself.
func checkEachClusterIP(e *validate.Errors, spec *corev1.ServiceSpec, existing []string, fld *field.Path) bool {
	valid := true
	for i, ip := range spec.ClusterIPs {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				valid = false
				e.Invalid(fld, spec.ClusterIPs, "'None' must be the first and only value")
			}
			continue
		}
		errs := validation.IsValidIPForLegacyField(fld.Index(i), ip, true, existing)
		valid = valid && len(errs) == 0
		e.Add(errs)
	}
	if len(spec.ClusterIPs) > 2 {
		e.Invalid(fld, spec.ClusterIPs, "may only hold up to 2 values")
	}
	return valid
}

// checkNonSpecialIP checks an address that other machines must reach.
func checkNonSpecialIP(e *validate.Errors, ip string, fld *field.Path) {
	addr := netutils.ParseIPSloppy(ip)
	switch {
	case addr == nil:
		e.Invalid(fld, ip, "must be a valid IP address")
	case addr.IsUnspecified():
		e.Invalidf(fld, ip, "may not be unspecified (%v)", ip)
	case addr.IsLoopback():
		e.Invalid(fld, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case addr.IsLinkLocalUnicast():
		e.Invalid(fld, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case addr.IsLinkLocalMulticast():
		e.Invalid(fld, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
}

func checkLoadBalancer(e *validate.Errors, s *corev1.Service, fld *field.Path) {
	spec, isLoadBalancer := &s.Spec, s.Spec.Type == corev1.ServiceTypeLoadBalancer
	annotation, annotated := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if len(spec.LoadBalancerSourceRanges) > 0 || annotated {
		p, ranges := fld.Child("LoadBalancerSourceRanges"), spec.LoadBalancerSourceRanges
		at := p.Index
		if len(ranges) == 0 {
			p = field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
			at = func(int) *field.Path { return p }
			if trimmed := strings.TrimSpace(annotation); trimmed != "" {
				ranges = strings.Split(trimmed, ",")
			}
		}
		if !isLoadBalancer {
			e.Forbidden(p, loadBalancerOnly)
		}
		for i, r := range ranges {
			e.Add(validation.IsValidCIDRForLegacyField(at(i), strings.TrimSpace(r), true, nil))
		}
	}
	if allocate := spec.AllocateLoadBalancerNodePorts; isLoadBalancer && allocate == nil {
		e.Required(fld.Child("allocateLoadBalancerNodePorts"), "")
	} else if !isLoadBalancer && allocate != nil {
		e.Forbidden(fld.Child("allocateLoadBalancerNodePorts"), loadBalancerOnly)
	}
	if class := spec.LoadBalancerClass; class != nil {
		if isLoadBalancer {
			e.QualifiedName(fld.Child("loadBalancerClass"), *class)
		} else {
			e.Forbidden(fld.Child("loadBalancerClass"), loadBalancerOnly)
		}
	}
}

func checkTrafficPolicies(e *validate.Errors, s *corev1.Service, fld *field.Path) {
	spec := &s.Spec
	external := fld.Child("externalTrafficPolicy")
	if reachableFromOutside(s) {
		validate.RequiredEnum(e, external, spec.ExternalTrafficPolicy,
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	} else if spec.ExternalTrafficPolicy != "" {
		e.Invalid(external, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	if port, p := spec.HealthCheckNodePort, fld.Child("healthCheckNodePort"); port != 0 {
		if needsHealthPort(s) {
			e.PortNumber(p, port)
		} else {
			e.Invalid(p, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
		}
	}
	internal := fld.Child("internalTrafficPolicy")
	if spec.InternalTrafficPolicy != nil {
		validate.Enum(e, internal, *spec.InternalTrafficPolicy,
			corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	} else if usesTrafficPolicy(s) {
		e.Required(internal, "")
	}
	if d := spec.TrafficDistribution; d != nil {
		validate.Enum(e, fld.Child("trafficDistribution"), *d, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
	}
}

func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	if needsClusterIP(s) && needsClusterIP(old) && !(isHeadless(s) && isHeadless(old)) {
		checkReassigned(&e, fld.Child("clusterIPs"), s.Spec.ClusterIPs, old.Spec.ClusterIPs, s, "clusterIP")
	}
	if needsClusterIP(s) && needsClusterIP(old) && isHeadless(s) == isHeadless(old) {
		checkReassigned(&e, fld.Child("ipFamilies"), s.Spec.IPFamilies, old.Spec.IPFamilies, s, "ipFamily")
	}
	if was, is := old.Spec.LoadBalancerClass, s.Spec.LoadBalancerClass; !ptr.Equal(was, is) &&
		s.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer {
		e.Invalid(fld.Child("loadBalancerClass"), is, fixed)
	}
	if needsHealthPort(s) && needsHealthPort(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		e.Forbidden(fld.Child("healthCheckNodePort"), "field is immutable")
	}
	return e.List()
}

// checkReassigned holds addresses, or families, to those that were given. The
// second of two may come, and go when the client asks for a single stack.
func checkReassigned[T ~string](e *validate.Errors, fld *field.Path, now, before []T, s *corev1.Service, what string) {
	switch {
	case len(now) == len(before):
		for i := range now {
			if now[i] != before[i] {
				e.Invalid(fld.Index(i), now, fixed)
			}
		}
	case len(now) == 0:
		e.Invalidf(fld.Index(0), now, "primary %s can not be unset", what)
	case len(before) > 0 && now[0] != before[0]:
		e.Invalid(fld.Index(0), now, fixed)
	}
	if len(before) == 2 && len(now) == 1 && ptr.Deref(s.Spec.IPFamilyPolicy, "") != corev1.IPFamilyPolicySingleStack {
		e.Invalidf(field.NewPath("spec", "ipFamilyPolicy"), s.Spec.IPFamilyPolicy,
			"must be set to 'SingleStack' when releasing the secondary %s", what)
	}
}

func validateServiceStatus(s, _ *corev1.Service) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status", "loadBalancer", "ingress")
	if len(s.Status.LoadBalancer.Ingress) > 0 && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		e.Forbidden(fld, "may only be used when `spec.type` is \"LoadBalancer\"")
		return e.List()
	}
	for i, in := range s.Status.LoadBalancer.Ingress {
		p := fld.Index(i)
		if in.IP != "" {
			e.Add(validation.IsValidIPForLegacyField(p.Child("ip"), in.IP, true, nil))
		}
		switch {
		case in.IP != "" && in.IPMode == nil:
			e.Required(p.Child("ipMode"), "must be specified when `ip` is set")
		case in.IP == "" && in.IPMode != nil:
			e.Forbidden(p.Child("ipMode"), "may not be specified when `ip` is not set")
		case in.IPMode != nil:
			validate.Enum(&e, p.Child("ipMode"), *in.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		if in.Hostname != "" {
			e.DNSSubdomain(p.Child("hostname"), in.Hostname)
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				e.Invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return e.List()
}

func warnService(s, _ *corev1.Service) []string {
	if s.DeletionTimestamp != nil {
		return nil
	}
	var warnings []string
	fld := field.NewPath("spec")
	if _, old := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; old {
		warnings = append(warnings, fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	if isHeadless(s) {
		if s.Spec.LoadBalancerIP != "" {
			warnings = append(warnings, "spec.loadBalancerIP is ignored for headless services")
		}
		if len(s.Spec.ExternalIPs) > 0 {
			warnings = append(warnings, "spec.externalIPs is ignored for headless services")
		}
		if s.Spec.SessionAffinity != corev1.ServiceAffinityNone {
			warnings = append(warnings, "spec.SessionAffinity is ignored for headless services")
		}
	}
	for i, ip := range s.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone {
			warnings = append(warnings, validation.GetWarningsForIP(fld.Child("clusterIPs").Index(i), ip)...)
		}
	}
	for i, ip := range s.Spec.ExternalIPs {
		warnings = append(warnings, validation.GetWarningsForIP(fld.Child("externalIPs").Index(i), ip)...)
	}
	if len(s.Spec.ExternalIPs) > 0 && !isHeadless(s) && s.Spec.Type != corev1.ServiceTypeExternalName {
		warnings = append(warnings, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		if s.Spec.LoadBalancerIP != "" {
			warnings = append(warnings, validation.GetWarningsForIP(fld.Child("loadBalancerIP"), s.Spec.LoadBalancerIP)...)
		}
		for i, cidr := range s.Spec.LoadBalancerSourceRanges {
			warnings = append(warnings, validation.GetWarningsForCIDR(fld.Child("loadBalancerSourceRanges").Index(i), cidr)...)
		}
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName && len(s.Spec.ExternalIPs) > 0 {
		warnings = append(warnings, "spec.externalIPs is ignored when spec.type is \"ExternalName\"")
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ExternalName != "" {
		warnings = append(warnings, "spec.externalName is ignored when spec.type is not \"ExternalName\"")
	}
	if d := ptr.Deref(s.Spec.TrafficDistribution, ""); d == corev1.ServiceTrafficDistributionPreferClose {
		warnings = append(warnings, fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", d, corev1.ServiceTrafficDistributionPreferSameZone))
	}
	return warnings
}

// ValidateNonSpecialIP checks an address that other machines must reach: none
// of the loopback, link-local and unspecified ones.
func ValidateNonSpecialIP(ip string, fld *field.Path) field.ErrorList {
	var e validate.Errors
	checkNonSpecialIP(&e, ip, fld)
	return e.List()
}
