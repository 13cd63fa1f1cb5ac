package core

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Node is the kind. A node's agent makes the object with its status, which is
// kept, unlike that of other kinds.
var Node = api.Of[corev1.Node]{
	Group: "", Version: "v1", Kind: "Node", Resource: "nodes",
	ShortNames:    []string{"no"},
	ClusterScoped: true,
	Default:       defaultNode,

	PrepareCreate: func(n *corev1.Node) {
		dropNodeFields(n)
		n.Status.Config = nil
	},
	PrepareUpdate:  func(n, _ *corev1.Node) { dropNodeFields(n) },
	Validate:       validateNode,
	ValidateUpdate: validateNodeUpdate,
	Warnings:       warnNode,

	Status: &api.Status[corev1.Node]{
		ResetOnCreate: func(*corev1.Node) {},
		PrepareUpdate: func(n, _ *corev1.Node) { n.Status.Config = nil },
		Validate: func(n, old *corev1.Node) field.ErrorList {
			return append(validateNode(n), validateNodeUpdate(n, old)...)
		},
	},

	Fields: func(n *corev1.Node) fields.Set {
		return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
	},
	Columns: []api.Column[corev1.Node]{
		print.Name[corev1.Node](),
		{
			Name: "Status", Description: "The status of the node",
			Value: func(n *corev1.Node) any { return nodeStatus(n) },
		},
		{
			Name: "Roles", Description: "The roles of the node",
			Value: func(n *corev1.Node) any { return print.OrNone(nodeRoles(n)) },
		},
		print.Age[corev1.Node](),
		{
			Name: "Version", Description: corev1.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"],
			Value: func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion },
		},
		{
			Name: "Internal-IP", Priority: 1, Description: corev1.NodeStatus{}.SwaggerDoc()["addresses"],
			Value: func(n *corev1.Node) any { return print.OrNone(nodeAddress(n, corev1.NodeInternalIP)) },
		},
		{
			Name: "External-IP", Priority: 1, Description: corev1.NodeStatus{}.SwaggerDoc()["addresses"],
			Value: func(n *corev1.Node) any { return print.OrNone(nodeAddress(n, corev1.NodeExternalIP)) },
		},
		{
			Name: "OS-Image", Priority: 1, Description: corev1.NodeSystemInfo{}.SwaggerDoc()["osImage"],
			Value: func(n *corev1.Node) any { return print.OrUnknown(n.Status.NodeInfo.OSImage) },
		},
		{
			Name: "Kernel-Version", Priority: 1, Description: corev1.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"],
			Value: func(n *corev1.Node) any { return kernelVersion(&n.Status.NodeInfo) },
		},
		{
			Name: "Container-Runtime", Priority: 1, Description: corev1.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"],
			Value: func(n *corev1.Node) any { return print.OrUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) },
		},
	},
}

// kernelVersion is a node's kernel with the processors that it is for.
func kernelVersion(info *corev1.NodeSystemInfo) string {
	version := print.OrUnknown(info.KernelVersion)
	if info.Architecture != "" {
		version += " (" + info.Architecture + ")"
	}
	return version
}

// defaultNode fills what a client left out. The one range of addresses and the
// first of the list are the same; of two that differ the one is right, which
// older clients set.
func defaultNode(n *corev1.Node) {
	roundUp(n.Status.Capacity)
	roundUp(n.Status.Allocatable)
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	s := &n.Spec
	switch {
	case s.PodCIDR == "" && len(s.PodCIDRs) > 0:
		s.PodCIDR = s.PodCIDRs[0]
	case s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR):
		s.PodCIDRs = []string{s.PodCIDR}
	}
}

// dropNodeFields clears fields of a feature that is gone (DynamicKubeletConfig)
// and of one that is alpha (InPlacePodVerticalScalingSchedulerPreemption).
func dropNodeFields(n *corev1.Node) {
	n.Spec.ConfigSource = nil
	n.Spec.PodPreemptionPolicy = nil
}

func validateNode(n *corev1.Node) field.ErrorList {
	var e validate.Errors
	checkAvoidPods(&e, n.Annotations, field.NewPath("metadata", "annotations"))
	// Taints are in spec; Kubernetes says metadata.
	checkTaints(&e, n.Spec.Taints, field.NewPath("metadata", "taints"))
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"capacity", n.Status.Capacity}, {"allocatable", n.Status.Allocatable}} {
		for _, name := range validate.Keys(list.of) {
			e.ResourceValue(field.NewPath("status", list.name, string(name)), name, list.of[name])
		}
	}
	if s := n.Status.NodeInfo.Swap; s != nil && s.Capacity != nil && n.ResourceVersion == "" { // Kubernetes looks at new nodes only
		e.Positive(field.NewPath("metadata", "nodeSwapStatus", "capacity"), *s.Capacity)
	}
	checkDeclaredFeatures(&e, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	checkPodCIDRs(&e, n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))
	return e.List()
}

// checkAvoidPods checks an annotation that says which pods are better elsewhere.
func checkAvoidPods(e *validate.Errors, annotations map[string]string, fld *field.Path) {
	const key = corev1.PreferAvoidPodsAnnotationKey
	text := annotations[key]
	if text == "" {
		return
	}
	var avoid corev1.AvoidPods
	if err := json.Unmarshal([]byte(text), &avoid); err != nil {
		e.Invalid(fld.Child("AvoidPods"), key, err.Error())
		return
	}
	for i, entry := range avoid.PreferAvoidPods {
		p, owner := fld.Child(key).Index(i).Child("PodSignature"), entry.PodSignature.PodController
		switch {
		case owner == nil:
			e.Required(p, "")
		case !ptr.Deref(owner.Controller, false):
			e.Invalid(p.Child("PodController"), ptr.Deref(owner.Controller, false), "must point to a controller")
		}
	}
}

func checkTaints(e *validate.Errors, taints []corev1.Taint, fld *field.Path) {
	type id struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := sets.New[id]()
	for i, t := range taints {
		p := fld.Index(i)
		e.Add(metav1validation.ValidateLabelName(t.Key, p.Child("key")))
		if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			e.Invalid(p.Child("value"), t.Value, strings.Join(msgs, ";"))
		}
		if t.Effect == "" {
			e.Required(p.Child("effect"), "")
		} else {
			checkTaintEffect(e, t.Effect, p.Child("effect"))
		}
		if seen.Has(id{t.Key, t.Effect}) {
			double := field.Duplicate(p, t)
			double.Detail = "taints must be unique by key and effect pair"
			e.Add(field.ErrorList{double})
		}
		seen.Insert(id{t.Key, t.Effect})
	}
}

// featureName is a feature that a node has: Feature or Feature/part.
var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)

// checkDeclaredFeatures checks a list that is in order and names nothing twice.
func checkDeclaredFeatures(e *validate.Errors, features []string, fld *field.Path) {
	for i, f := range features {
		if len(f) > validation.DNS1123SubdomainMaxLength {
			e.Invalidf(fld.Index(i), f, "invalid feature name %q: must be no more than %d characters", f, validation.DNS1123SubdomainMaxLength)
		} else if !featureName.MatchString(f) {
			e.Invalidf(fld.Index(i), f, "invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments "+
				"separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f)
		}
		if i == 0 {
			continue
		}
		switch before := features[i-1]; {
		case f == before:
			e.Duplicate(fld.Index(i), f)
		case f < before:
			e.Invalid(fld.Index(i), f, "list must be sorted alphabetically")
		}
	}
}

// checkPodCIDRs checks the node's ranges of pods' addresses: one, or one for
// each family.
func checkPodCIDRs(e *validate.Errors, cidrs []string, fld *field.Path) {
	for i, c := range cidrs {
		e.CIDR(fld.Index(i), c)
	}
	if len(cidrs) < 2 {
		return
	}
	dual, err := netutils.IsDualStackCIDRStrings(cidrs)
	if err != nil {
		e.Internal(fld, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err))
	}
	if !dual || len(cidrs) > 2 {
		e.Invalid(fld, cidrs, "may specify no more than one CIDR for each IP family")
	}
}

// validateNodeUpdate checks a change of a node or of its status: what was
// given to it once stays.
func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var e validate.Errors
	addresses := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if addresses.Has(a) {
			e.Duplicate(field.NewPath("status", "addresses").Index(i), a)
		}
		addresses.Insert(a)
	}
	spec := field.NewPath("spec")
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		e.Forbidden(spec.Child("podCIDRs"), `node updates may not change podCIDR except from "" to valid`)
	}
	switch is, was := n.Spec.ProviderID, old.Spec.ProviderID; {
	case was == "" || is == was:
	case is == "":
		e.Invalid(spec.Child("providerID"), nil, "field cannot be cleared once set")
	default:
		e.Invalid(spec.Child("providerID"), nil, "field cannot be modified once set")
	}
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		e.Forbidden(spec.Child("externalID"), "may not be updated")
	}
	return e.List()
}

func warnNode(n, _ *corev1.Node) []string {
	if n.Spec.DoNotUseExternalID != "" {
		return []string{"spec.externalID: this field is deprecated, and is unused by Kubernetes"}
	}
	return nil
}

// nodeStatus is whether the node is ready, and whether it takes pods.
func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "Ready"
		if c.Status != corev1.ConditionTrue {
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// Labels that say what a node is for: node-role.kubernetes.io/<role> and
// kubernetes.io/role=<role>.
const (
	labelRolePrefix = "node-role.kubernetes.io/"
	labelRole       = "kubernetes.io/role"
)

func nodeRoles(n *corev1.Node) string {
	roles := sets.New[string]()
	for key, value := range n.Labels {
		if role, found := strings.CutPrefix(key, labelRolePrefix); found && role != "" {
			roles.Insert(role)
		}
		if key == labelRole && value != "" {
			roles.Insert(value)
		}
	}
	return strings.Join(sets.List(roles), ",")
}

// nodeAddress is the first address of a type; empty when there is none.
func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return ""
}
