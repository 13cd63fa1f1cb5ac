package services

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/core"
)

// Allocator gives services their addresses and ports. The first of Addresses
// is of the cluster's primary family.
type Allocator struct {
	Addresses []*Addresses
	Ports     *Ports
}

// Attach makes a store of services give out and take back, and the further
// stores, those of subresources, take back: an object may go by any of them.
func (a *Allocator) Attach(s *genericregistry.Store, further ...*genericregistry.Store) {
	s.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		return a.begin(ctx, obj.(*corev1.Service), nil, len(o.DryRun) > 0)
	}
	s.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		return a.begin(ctx, obj.(*corev1.Service), old.(*corev1.Service), len(o.DryRun) > 0)
	}
	for _, s := range append(further, s) {
		s.AfterDelete = func(obj runtime.Object, o *metav1.DeleteOptions) {
			svc := obj.(*corev1.Service)
			if o != nil && len(o.DryRun) > 0 {
				return
			}
			a.release(context.Background(), ownerOf(svc), held(svc))
		}
	}
}

// holding is what of the cluster's ranges a service has.
type holding struct {
	addresses []string
	ports     []int32
}

func held(s *corev1.Service) holding {
	var h holding
	if s == nil {
		return h
	}
	if hasClusterIP(s) {
		for _, ip := range s.Spec.ClusterIPs {
			if ip != "" && ip != corev1.ClusterIPNone {
				h.addresses = append(h.addresses, ip)
			}
		}
	}
	for i := range s.Spec.Ports {
		if p := s.Spec.Ports[i].NodePort; p != 0 && !slices.Contains(h.ports, p) {
			h.ports = append(h.ports, p)
		}
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		h.ports = append(h.ports, p)
	}
	return h
}

// ownerOf names a service in claims, by its UID as well: a second one of the
// same name, whose creation is about to fail, must not share the first's.
func ownerOf(s *corev1.Service) string { return s.Namespace + "/" + s.Name + "/" + string(s.UID) }

// without gives what is in h and not in other.
func (h holding) without(other holding) holding {
	return holding{
		slices.DeleteFunc(slices.Clone(h.addresses), func(s string) bool { return slices.Contains(other.addresses, s) }),
		slices.DeleteFunc(slices.Clone(h.ports), func(p int32) bool { return slices.Contains(other.ports, p) }),
	}
}

func hasClusterIP(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != corev1.ClusterIPNone
}

func wantsNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func wantsHealthPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// begin fills in what a service is to have. The returned function is called
// when it has been stored, or could not be: one of both gives back what is
// not held any more.
func (a *Allocator) begin(ctx context.Context, s, old *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	before, owner := held(old), ownerOf(s)
	if old != nil {
		owner = ownerOf(old) // the new one may leave out its UID
		core.FollowClusterIP(s, old)
		inherit(s, old)
	}
	if dryRun {
		a = a.rehearsal()
	}
	t := &turn{Allocator: a, owner: owner, had: before, old: old}
	if err := t.fill(ctx, s); err != nil {
		a.release(context.WithoutCancel(ctx), owner, t.taken)
		return nil, err
	}
	after := held(s)
	return func(ctx context.Context, success bool) {
		ctx = context.WithoutCancel(ctx)
		if !success {
			a.release(ctx, owner, t.taken)
			return
		}
		a.release(ctx, owner, before.without(after))
	}, nil
}

// inherit keeps what an update left out: a client that does not know of a
// service's address does not mean to take it away.
func inherit(s, old *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		dropSameNodePorts(s, old)
		if s.Spec.HealthCheckNodePort == old.Spec.HealthCheckNodePort {
			s.Spec.HealthCheckNodePort = 0
		}
		return
	}
	if old.Spec.Type != corev1.ServiceTypeExternalName {
		if s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = old.Spec.ClusterIP, slices.Clone(old.Spec.ClusterIPs)
		}
		if s.Spec.IPFamilyPolicy == nil {
			s.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
		}
		if len(s.Spec.IPFamilies) == 0 {
			s.Spec.IPFamilies = slices.Clone(old.Spec.IPFamilies)
		}
	}
	switch {
	case s.Spec.Type == corev1.ServiceTypeClusterIP:
		if old.Spec.Type != corev1.ServiceTypeClusterIP {
			dropSameNodePorts(s, old)
		}
	case wantsNodePorts(s):
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			for j := range old.Spec.Ports {
				if o := &old.Spec.Ports[j]; p.NodePort == 0 && o.Port == p.Port && o.Protocol == p.Protocol && !uses(s, o.NodePort, p.Protocol) {
					p.NodePort = o.NodePort
				}
			}
		}
	}
	if wantsHealthPort(s) {
		if s.Spec.HealthCheckNodePort == 0 {
			s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
		}
	} else if wantsHealthPort(old) && s.Spec.HealthCheckNodePort == old.Spec.HealthCheckNodePort {
		s.Spec.HealthCheckNodePort = 0
	}
}

func uses(s *corev1.Service, port int32, protocol corev1.Protocol) bool {
	return port != 0 && slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort == port && p.Protocol == protocol })
}

// dropSameNodePorts lets a change of type alone turn a NodePort service into a
// ClusterIP one.
func dropSameNodePorts(s, old *corev1.Service) {
	ports := held(old).ports
	for i := range s.Spec.Ports {
		if slices.Contains(ports, s.Spec.Ports[i].NodePort) {
			s.Spec.Ports[i].NodePort = 0
		}
	}
}

// turn fills in one service.
type turn struct {
	*Allocator
	owner string
	old   *corev1.Service // nil: a new one
	had   holding
	taken holding // in this turn
}

func (t *turn) fill(ctx context.Context, s *corev1.Service) error {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if errs := core.ValidateClusterIPs(s, t.old); len(errs) > 0 {
		return invalid(s, errs...)
	}
	if err := t.families(s); err != nil {
		return err
	}
	if hasClusterIP(s) {
		if err := t.fillAddresses(ctx, s); err != nil {
			return err
		}
	} else if len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	}
	return t.fillPorts(ctx, s)
}

// families decides which address families a service has.
func (t *turn) families(s *corev1.Service) error {
	spec, fld := &s.Spec, field.NewPath("spec")
	selectorless := spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
		if selectorless { // nobody knows which addresses the endpoints will have
			spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
		}
	}
	policy := *spec.IPFamilyPolicy
	errs := append(t.fewer(s), t.given(s)...)
	if len(errs) > 0 {
		return invalid(s, errs...)
	}
	dual := len(t.Addresses) > 1
	if !selectorless {
		if policy == corev1.IPFamilyPolicyRequireDualStack && !dual {
			errs = append(errs, field.Invalid(fld.Child("ipFamilyPolicy"), policy, "this cluster is not configured for dual-stack services"))
		}
		for i, f := range spec.IPFamilies {
			if t.rangeOf(f) == nil {
				errs = append(errs, field.Invalid(fld.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
			}
		}
	}
	if len(errs) > 0 {
		return invalid(s, errs...)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{family(t.Addresses[0].Is6())}
	}
	if len(spec.IPFamilies) == 1 && policy != corev1.IPFamilyPolicySingleStack && (dual || selectorless) {
		spec.IPFamilies = append(spec.IPFamilies, family(spec.IPFamilies[0] == corev1.IPv4Protocol))
	}
	return nil
}

// fewer lets an update to a single stack release the second address; without
// that word it may not be left out.
func (t *turn) fewer(s *corev1.Service) field.ErrorList {
	if t.old == nil {
		return nil
	}
	spec, was := &s.Spec, &t.old.Spec
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, was.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, was.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
		return nil
	}
	var errs field.ErrorList
	tell := func(what string) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary "+what))
	}
	if len(spec.ClusterIPs) < len(was.ClusterIPs) {
		tell("cluster IP")
	}
	if len(spec.IPFamilies) < len(was.IPFamilies) {
		tell("IP family")
	}
	return errs
}

// given adds the families of the addresses that the client asks for.
func (t *turn) given(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec, fld := &s.Spec, field.NewPath("spec")
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		const two = "must be 'RequireDualStack' or 'PreferDualStack' when multiple "
		if len(spec.ClusterIPs) == 2 {
			errs = append(errs, field.Invalid(fld.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, two+"cluster IPs are specified"))
		}
		if len(spec.IPFamilies) == 2 {
			errs = append(errs, field.Invalid(fld.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, two+"IP families are specified"))
		}
	}
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone || i < len(spec.IPFamilies) {
			continue
		}
		f := family(isIP6(ip))
		if t.rangeOf(f) == nil {
			errs = append(errs, field.Invalid(fld.Child("clusterIPs").Index(i), spec.ClusterIPs, string(f)+" is not configured on this cluster"))
			continue
		}
		spec.IPFamilies = append(spec.IPFamilies, f)
	}
	return errs
}

func (t *turn) fillAddresses(ctx context.Context, s *corev1.Service) error {
	for i, f := range s.Spec.IPFamilies {
		r := t.rangeOf(f)
		if i < len(s.Spec.ClusterIPs) && s.Spec.ClusterIPs[i] != "" {
			ip := s.Spec.ClusterIPs[i]
			if slices.Contains(t.had.addresses, ip) {
				continue
			}
			if t.old != nil && hasClusterIP(t.old) && i < len(t.old.Spec.ClusterIPs) {
				continue // it cannot change, as validation tells
			}
			if err := r.Claim(ctx, ip, t.owner); err != nil {
				return invalid(s, field.Invalid(field.NewPath("spec", "clusterIPs"), s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %v", ip, err)))
			}
			t.taken.addresses = append(t.taken.addresses, ip)
			continue
		}
		ip, err := r.Next(ctx, t.owner)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", err))
		}
		t.taken.addresses = append(t.taken.addresses, ip)
		if i < len(s.Spec.ClusterIPs) {
			s.Spec.ClusterIPs[i] = ip
		} else {
			s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, ip)
		}
	}
	if len(s.Spec.ClusterIPs) > 0 {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	return nil
}

func (t *turn) fillPorts(ctx context.Context, s *corev1.Service) error {
	mine := map[int32]bool{}
	for _, p := range t.had.ports {
		mine[p] = true
	}
	claim := func(path *field.Path, port int32) error {
		if mine[port] {
			return nil
		}
		if err := t.Ports.Claim(ctx, port, t.owner); err != nil {
			return invalid(s, field.Invalid(path, port, err.Error()))
		}
		mine[port] = true
		t.taken.ports = append(t.taken.ports, port)
		return nil
	}
	next := func() (int32, error) {
		port, err := t.Ports.Next(ctx, t.owner, mine)
		if err != nil {
			return 0, apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
		}
		mine[port] = true
		t.taken.ports = append(t.taken.ports, port)
		return port, nil
	}
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.NodePort != 0 {
			if err := claim(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort); err != nil {
				return err
			}
		}
	}
	if wantsNodePorts(s) {
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if p.NodePort == 0 {
				// One number for one port in several protocols.
				for _, o := range s.Spec.Ports {
					if o.Port == p.Port && o.Protocol != p.Protocol && o.NodePort != 0 && !uses(s, o.NodePort, p.Protocol) {
						p.NodePort = o.NodePort
					}
				}
			}
			if p.NodePort != 0 {
				continue
			}
			port, err := next()
			if err != nil {
				return err
			}
			p.NodePort = port
		}
	}
	if !wantsHealthPort(s) {
		return nil
	}
	if t.old != nil && wantsHealthPort(t.old) && s.Spec.HealthCheckNodePort != 0 {
		return nil // it cannot change
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		return claim(field.NewPath("spec", "healthCheckNodePort"), p)
	}
	port, err := next()
	s.Spec.HealthCheckNodePort = port
	return err
}

func (a *Allocator) rangeOf(f corev1.IPFamily) *Addresses {
	for _, r := range a.Addresses {
		if family(r.Is6()) == f {
			return r
		}
	}
	return nil
}

// release gives back what a service does not hold any more. What can't be
// given back now is found by Repair at the next start.
func (a *Allocator) release(ctx context.Context, owner string, h holding) {
	var errs []error
	for _, ip := range h.addresses {
		if r := a.rangeOf(family(isIP6(ip))); r != nil {
			errs = append(errs, r.Release(ctx, ip, owner))
		}
	}
	for _, p := range h.ports {
		errs = append(errs, a.Ports.Release(ctx, p, owner))
	}
	if err := errors.Join(errs...); err != nil {
		klog.FromContext(ctx).Error(err, "Could not give back addresses of a service", "owner", owner)
	}
}

// Repair makes the claims fit the services that exist: what nobody holds is
// given back, what a service holds is claimed. It runs before the server takes
// writes.
func (a *Allocator) Repair(ctx context.Context, services []corev1.Service) error {
	addresses, ports := map[string]string{}, map[string]string{}
	for i := range services {
		s := &services[i]
		owner, h := ownerOf(s), held(s)
		for _, ip := range h.addresses {
			addresses[ip] = owner
		}
		for _, p := range h.ports {
			ports[fmt.Sprint(p)] = owner
		}
	}
	for _, r := range a.Addresses {
		if err := repair(ctx, r.claims, addresses, func(ip string) bool { return isIP6(ip) == r.Is6() }); err != nil {
			return err
		}
	}
	return repair(ctx, a.Ports.claims, ports, func(string) bool { return true })
}

func repair(ctx context.Context, c Claims, want map[string]string, ours func(string) bool) error {
	have, err := c.List(ctx)
	if err != nil {
		return err
	}
	for name, owner := range have {
		if ours(name) && want[name] != owner {
			if err := c.Release(ctx, name, owner); err != nil {
				return err
			}
		}
	}
	for name, owner := range want {
		if !ours(name) || have[name] == owner {
			continue
		}
		if _, err := c.Claim(ctx, name, owner); err != nil {
			return err
		}
	}
	return nil
}

func invalid(s *corev1.Service, errs ...*field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, errs)
}

func family(is6 bool) corev1.IPFamily {
	if is6 {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func isIP6(ip string) bool { return strings.Contains(ip, ":") }
