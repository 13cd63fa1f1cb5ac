package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

// nodeRestriction lets an agent change its own node and the pods bound to it
// and no others.
type nodeRestriction struct {
	objects    Objects
	authorizer authorizer.UnconditionalAuthorizer
}

func (n *nodeRestriction) Handles(op admission.Operation) bool { return op != admission.Connect }

// Validate implements admission.ValidationInterface.
func (n *nodeRestriction) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, ok := auth.NodeName(a.GetUserInfo())
	if !ok {
		return nil
	}
	var err error
	switch a.GetResource().Resource {
	case "pods":
		err = n.pod(ctx, node, a)
	case "nodes":
		err = ownNode(node, a)
	case "serviceaccounts":
		err = n.token(ctx, node, a)
	case podCertificateRequests:
		return n.certificate(ctx, node, a)
	case "leases":
		err = ownLease(node, a)
	case "csinodes":
		if a.GetName() != node && nameOf(a) != node {
			err = fmt.Errorf("can only access CSINode with the same name as the requesting node")
		}
	}
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

func (n *nodeRestriction) pod(ctx context.Context, node string, a admission.Attributes) error {
	switch a.GetSubresource() {
	case "":
		return n.wholePod(node, a)
	case "status":
		pod, ok := a.GetOldObject().(*corev1.Pod)
		if !ok {
			return fmt.Errorf("unexpected type %T", a.GetOldObject())
		}
		if pod.Spec.NodeName != node {
			return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node)
		}
		if changed, ok := a.GetObject().(*corev1.Pod); ok && !maps.Equal(changed.Labels, pod.Labels) {
			return fmt.Errorf("node %q cannot update labels through pod status", node)
		}
		return nil
	case "eviction":
		ev, ok := a.GetObject().(*policyv1.Eviction)
		if !ok {
			return fmt.Errorf("unexpected type %T", a.GetObject())
		}
		name := a.GetName()
		if name == "" {
			name = ev.Name
		}
		pod, err := n.objects.Pod(ctx, a.GetNamespace(), name)
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != node {
			return fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", node)
		}
		return nil
	}
	return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.GetSubresource())
}

func (n *nodeRestriction) wholePod(node string, a admission.Attributes) error {
	switch a.GetOperation() {
	case admission.Create:
		pod, ok := a.GetObject().(*corev1.Pod)
		switch {
		case !ok:
			return fmt.Errorf("unexpected type %T", a.GetObject())
		case !isMirror(pod):
			return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
		case pod.Spec.NodeName != node:
			return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
		case pod.Spec.ServiceAccountName != "":
			return fmt.Errorf("node %q can not create pods that reference a service account", node)
		}
		return nil
	case admission.Delete:
		pod, ok := a.GetOldObject().(*corev1.Pod)
		if !ok {
			return fmt.Errorf("unexpected type %T", a.GetOldObject())
		}
		if pod.Spec.NodeName != node {
			return fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", node)
		}
		return nil
	}
	return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.GetOperation(), node)
}

func nameOf(a admission.Attributes) string {
	if m, ok := a.GetObject().(interface{ GetName() string }); ok {
		return m.GetName()
	}
	return ""
}

func ownNode(node string, a admission.Attributes) error {
	name := a.GetName()
	if name == "" {
		name = nameOf(a)
	}
	if name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, name)
	}
	if a.GetSubresource() != "" {
		return nil
	}
	obj, _ := a.GetObject().(*corev1.Node)
	old, _ := a.GetOldObject().(*corev1.Node)
	switch a.GetOperation() {
	case admission.Create:
		if obj.Spec.ConfigSource != nil {
			return fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if bad := forbiddenLabels(obj.Labels, nil); len(bad) > 0 {
			return fmt.Errorf("is not allowed to set the following labels: %s", strings.Join(bad, ", "))
		}
	case admission.Update:
		if !apiequality.Semantic.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
			return fmt.Errorf("node %q is not allowed to modify taints", node)
		}
		if !apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
			return fmt.Errorf("node %q is not allowed to modify ownerReferences", node)
		}
		if bad := forbiddenLabels(obj.Labels, old.Labels); len(bad) > 0 {
			return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(bad, ", "))
		}
	}
	return nil
}

// nodeLabels are those of the kubernetes.io and k8s.io domains that an agent
// may set on its node.
var nodeLabels = sets.New(
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelInstanceType, corev1.LabelInstanceTypeStable,
	corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
)

// forbiddenLabels gives the labels that changed and that an agent must not
// change: those by which pods are kept away from nodes.
func forbiddenLabels(labels, old map[string]string) []string {
	changed := sets.New[string]()
	for k, v := range labels {
		if o, ok := old[k]; !ok || o != v {
			changed.Insert(k)
		}
	}
	for k := range old {
		if _, ok := labels[k]; !ok {
			changed.Insert(k)
		}
	}
	var bad []string
	for k := range changed {
		domain, _, qualified := strings.Cut(k, "/")
		if !qualified {
			continue
		}
		in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
		switch {
		case in("node-restriction.kubernetes.io"):
			bad = append(bad, k)
		case in("kubernetes.io") || in("k8s.io"):
			if !nodeLabels.Has(k) && !in("kubelet.kubernetes.io") && !in("node.kubernetes.io") {
				bad = append(bad, k)
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// token lets an agent ask for tokens of the pods that are bound to its node.
func (n *nodeRestriction) token(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "token" {
		return nil
	}
	r, ok := a.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	ref := r.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return fmt.Errorf("node requested token not bound to a pod")
	case ref.UID == "":
		return fmt.Errorf("node requested token with a pod binding without a uid")
	}
	pod, err := n.objects.Pod(ctx, a.GetNamespace(), ref.Name)
	switch {
	case err != nil:
		return err
	case ref.UID != pod.UID:
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", ref.UID, pod.UID)
	case pod.Spec.NodeName != node:
		return fmt.Errorf("node requested token bound to a pod scheduled on a different node")
	}
	return nil
}

func ownLease(node string, a admission.Attributes) error {
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	name := a.GetName()
	if l, ok := a.GetObject().(*coordinationv1.Lease); ok && a.GetOperation() == admission.Create {
		name = l.Name
	}
	if name != node {
		return fmt.Errorf("can only access node lease with the same name as the requesting node")
	}
	return nil
}
