package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/skiffcluster/skiff/api/validate"
)

// nameCheck reports a resource that cannot be asked for in a place.
type nameCheck func(*validate.Errors, *field.Path, corev1.ResourceName)

// checkResources checks requests and limits of a container or of a pod.
func (s *podSpec) checkResources(r *corev1.ResourceRequirements, p *field.Path, name nameCheck) {
	limits, requests := p.Child("limits"), p.Child("requests")
	for _, n := range validate.Keys(r.Limits) {
		s.checkAmount(n, r.Limits, limits, name)
	}
	for _, n := range validate.Keys(r.Requests) {
		s.checkAmount(n, r.Requests, requests, name)
		request, limit := r.Requests[n], r.Limits[n]
		_, limited := r.Limits[n]
		switch shared := validate.Overcommits(n); {
		case !limited && !shared:
			s.Required(limits, "Limit must be set for non overcommitable resources")
		case !limited:
		case !shared && request.Cmp(limit) != 0:
			s.Invalidf(requests, request.String(), "must be equal to %s limit of %s", n, limit.String())
		case request.Cmp(limit) > 0:
			s.Invalidf(requests, request.String(), "must be less than or equal to %s limit of %s", n, limit.String())
		}
	}
	if asksFor(r, validate.IsHugePages) && !asksFor(r, func(n corev1.ResourceName) bool {
		return n == corev1.ResourceCPU || n == corev1.ResourceMemory
	}) {
		s.Forbidden(p, "HugePages require cpu or memory")
	}
	s.checkClaimRefs(r.Claims, p.Child("claims"))
}

func (s *podSpec) checkAmount(n corev1.ResourceName, in corev1.ResourceList, fld *field.Path, name nameCheck) {
	p, q := fld.Key(string(n)), in[n]
	name(&s.Errors, p, n)
	s.ResourceValue(p, n, q)
	s.HugePages(p, n, q)
}

// asksFor tells whether a request or limit is of a resource that matches.
func asksFor(r *corev1.ResourceRequirements, matches func(corev1.ResourceName) bool) bool {
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for n := range list {
			if matches(n) {
				return true
			}
		}
	}
	return false
}

// checkOverhead checks what running the pod costs beside its containers.
func (s *podSpec) checkOverhead(p *field.Path) {
	if s.spec.Overhead != nil {
		s.checkResources(&corev1.ResourceRequirements{Limits: s.spec.Overhead}, p, (*validate.Errors).ContainerResourceName)
	}
}

// checkPodResources checks requests and limits of the pod as a whole, and that
// those of its containers fit into them.
func (s *podSpec) checkPodResources(fld *field.Path) {
	r, p := s.spec.Resources, fld.Child("resources")
	if r == nil {
		return
	}
	if s.spec.OS != nil && s.spec.OS.Name == corev1.Windows {
		s.Forbidden(p, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		s.Forbidden(p.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	s.checkResources(r, p, podResourceName)
	pod := &corev1.Pod{Spec: *s.spec}
	requests := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, n := range validate.Keys(requests) {
		sum, whole := requests[n], r.Requests[n]
		if _, set := r.Requests[n]; set && sum.Cmp(whole) > 0 {
			s.Invalidf(p.Child("requests").Key(string(n)), whole.String(),
				"must be greater than or equal to aggregate container requests of %s", sum.String())
		}
	}
	// Huge pages are not shared out: containers' limits add up, as requests do.
	limits := resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, n := range validate.Keys(limits) {
		sum, whole := limits[n], r.Limits[n]
		if _, set := r.Limits[n]; set && validate.IsHugePages(n) && sum.Cmp(whole) > 0 {
			s.Invalidf(p.Child("limits").Key(string(n)), whole.String(),
				"must be greater than or equal to aggregate container limits of %s", sum.String())
		}
	}
	for i, c := range s.spec.Containers {
		for _, n := range validate.Keys(c.Resources.Limits) {
			limit, whole := c.Resources.Limits[n], r.Limits[n]
			if _, set := r.Limits[n]; set && limit.Cmp(whole) > 0 {
				// The path is as Kubernetes writes it.
				s.Invalidf(p.Child("containers").Index(i).Key(string(n)).Child("limits"), limit.String(),
					"must be less than or equal to pod limits of %s", whole.String())
			}
		}
	}
}

// podResourceName reports a resource that no pod as a whole can ask for.
func podResourceName(e *validate.Errors, p *field.Path, n corev1.ResourceName) {
	before := e.Len()
	e.ResourceName(p, n)
	if e.Len() == before && !resourcehelper.IsSupportedPodLevelResource(n) {
		e.Add(field.ErrorList{field.NotSupported(p, n, sets.List(resourcehelper.SupportedPodLevelResources()))})
	}
}

// checkResourceClaims checks the devices that the pod asks for.
func (s *podSpec) checkResourceClaims(fld *field.Path) {
	names := sets.New[string]()
	for i, c := range s.spec.ResourceClaims {
		if s.isPod() {
			if _, static := s.meta.Annotations[corev1.MirrorPodAnnotationKey]; static {
				s.Forbidden(field.NewPath(""), "static pods do not support resource claims")
				continue
			}
		}
		p := fld.Index(i)
		switch {
		case c.Name == "":
			s.Required(p.Child("name"), "")
		case names.Has(c.Name):
			s.Duplicate(p.Child("name"), c.Name)
		default:
			s.DNSLabel(p.Child("name"), c.Name)
			names.Insert(c.Name)
		}
		claim, template := c.ResourceClaimName, c.ResourceClaimTemplateName
		if claim != nil && template != nil {
			s.Invalid(p, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		}
		if claim == nil && template == nil {
			s.Invalid(p, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if claim != nil {
			s.Name(p.Child("resourceClaimName"), *claim, apivalidation.NameIsDNSSubdomain)
		}
		if template != nil {
			s.Name(p.Child("resourceClaimTemplateName"), *template, apivalidation.NameIsDNSSubdomain)
		}
	}
}

// checkClaimRefs checks which of the pod's devices a container uses: a whole
// claim, or single requests of it, but not both.
func (s *podSpec) checkClaimRefs(claims []corev1.ResourceClaim, fld *field.Path) {
	whole, part := sets.New[string](), sets.New[string]()
	claimed := map[string]int{}
	for i, c := range claims {
		p := fld.Index(i)
		if c.Name == "" {
			s.Required(p, "")
			continue
		}
		key := c.Name + "/" + c.Request
		switch {
		case whole.Has(c.Name):
			s.Duplicate(p, c.Name)
		case c.Request == "":
			for range claimed[c.Name] {
				s.Duplicate(p, c.Name)
			}
			whole.Insert(c.Name)
		default:
			s.DNSLabel(p.Child("request"), c.Request)
			if part.Has(key) {
				s.Duplicate(p, key)
			} else {
				claimed[c.Name]++
			}
			part.Insert(key)
		}
		if !s.claims.Has(c.Name) {
			missing := field.NotFound(p, c.Name)
			missing.Detail = "must be one of the names in pod.spec.resourceClaims which is empty"
			if s.claims.Len() > 0 {
				missing.Detail = "must be one of the names in pod.spec.resourceClaims: " + strings.Join(sets.List(s.claims), ", ")
			}
			s.Add(field.ErrorList{missing})
		}
	}
}
