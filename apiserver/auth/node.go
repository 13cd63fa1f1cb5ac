package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// nodeUserPrefix and nodesGroup name node agents
// (https://kubernetes.io/docs/reference/access-authn-authz/node/).
const (
	nodeUserPrefix = "system:node:"
	nodesGroup     = "system:nodes"
)

// NodeName is the node that a user is the agent of.
func NodeName(u user.Info) (string, bool) {
	name, ok := strings.CutPrefix(u.GetName(), nodeUserPrefix)
	return name, ok && name != "" && slices.Contains(u.GetGroups(), nodesGroup)
}

// NodePods reads the pods that are bound to a node.
type NodePods func(ctx context.Context, node string) ([]corev1.Pod, error)

// RequestNode reads the node that a PodCertificateRequest is of.
type RequestNode func(ctx context.Context, namespace, name string) (string, error)

// Nodes authorizes node agents: an agent may read what the pods on its node
// refer to and nothing else of that kind. It asks the API server's watch
// cache, which is indexed by node, at each request: there is no graph of all
// references to keep up to date.
type Nodes struct {
	Pods    NodePods
	Request RequestNode
}

// referenced are the resources that agents may read only when a pod of theirs
// refers to them.
var referenced = map[string]func(*corev1.Pod) []string{
	"secrets":                secretsOf,
	"configmaps":             configMapsOf,
	"persistentvolumeclaims": claimsOf,
	"serviceaccounts":        func(p *corev1.Pod) []string { return []string{p.Spec.ServiceAccountName} },
}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (n *Nodes) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	node, ok := NodeName(a.GetUser())
	if !ok || !a.IsResourceRequest() {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if a.GetAPIGroup() == "" {
		if names, ok := referenced[a.GetResource()]; ok {
			return n.byReference(ctx, node, a, names)
		}
	}
	if a.GetAPIGroup() == certificatesv1.GroupName && a.GetResource() == "podcertificaterequests" {
		return n.certificates(ctx, node, a)
	}
	for i := range nodeRules {
		if allows(&nodeRules[i], a) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func (n *Nodes) byReference(ctx context.Context, node string, a authorizer.Attributes, names func(*corev1.Pod) []string) (authorizer.Decision, string, error) {
	switch {
	case a.GetName() == "":
		return authorizer.DecisionNoOpinion, fmt.Sprintf("No Object name found for node %q", node), nil
	case a.GetResource() == "serviceaccounts" && !(a.GetVerb() == "create" && a.GetSubresource() == "token") && a.GetVerb() != "get":
		return authorizer.DecisionNoOpinion, "can only get service accounts and create their tokens", nil
	case a.GetResource() != "serviceaccounts" && a.GetSubresource() != "":
		return authorizer.DecisionNoOpinion, "cannot read subresource", nil
	case a.GetResource() != "serviceaccounts" && !slices.Contains([]string{"get", "list", "watch"}, a.GetVerb()):
		return authorizer.DecisionNoOpinion, "can only read resources of this type", nil
	}
	pods, err := n.Pods(ctx, node)
	if err != nil {
		return authorizer.DecisionNoOpinion, "", fmt.Errorf("pods of node %q: %w", node, err)
	}
	for i := range pods {
		if pods[i].Namespace == a.GetNamespace() && slices.Contains(names(&pods[i]), a.GetName()) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, fmt.Sprintf("no relationship found between node '%s' and this object", node), nil
}

// certificates lets an agent ask for certificates, for which pods admission
// decides, and see the requests of its own node.
func (n *Nodes) certificates(ctx context.Context, node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetSubresource() != "" {
		return authorizer.DecisionNoOpinion, "nodes may not access the status subresource of PodCertificateRequests", nil
	}
	switch a.GetVerb() {
	case "create":
		return authorizer.DecisionAllow, "", nil
	case "get":
		of, err := n.Request(ctx, a.GetNamespace(), a.GetName())
		if err == nil && of == node {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, fmt.Sprintf("no relationship found between node '%s' and this object", node), nil
	case "list", "watch":
		selected, err := a.GetFieldSelector()
		if err == nil && slices.ContainsFunc(selected, func(r fields.Requirement) bool {
			return r.Field == "spec.nodeName" && r.Operator == selection.Equals && r.Value == node
		}) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "can only list/watch podcertificaterequests with nodeName field selector", nil
	}
	return authorizer.DecisionNoOpinion, fmt.Sprintf("nodes may not %s podcertificaterequests", a.GetVerb()), nil
}

func secretsOf(p *corev1.Pod) []string {
	var names []string
	for _, s := range p.Spec.ImagePullSecrets {
		names = append(names, s.Name)
	}
	eachEnv(p, func(from corev1.EnvFromSource, e corev1.EnvVar) {
		if from.SecretRef != nil {
			names = append(names, from.SecretRef.Name)
		}
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			names = append(names, e.ValueFrom.SecretKeyRef.Name)
		}
	})
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		switch {
		case v.Secret != nil:
			names = append(names, v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.Secret != nil {
					names = append(names, s.Secret.Name)
				}
			}
		case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
			names = append(names, v.CSI.NodePublishSecretRef.Name)
		}
	}
	return names
}

func configMapsOf(p *corev1.Pod) []string {
	var names []string
	eachEnv(p, func(from corev1.EnvFromSource, e corev1.EnvVar) {
		if from.ConfigMapRef != nil {
			names = append(names, from.ConfigMapRef.Name)
		}
		if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
			names = append(names, e.ValueFrom.ConfigMapKeyRef.Name)
		}
	})
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			names = append(names, v.ConfigMap.Name)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					names = append(names, s.ConfigMap.Name)
				}
			}
		}
	}
	return names
}

func claimsOf(p *corev1.Pod) []string {
	var names []string
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, p.Name+"-"+v.Name)
		}
	}
	return names
}

// eachEnv calls f with every source of environment of every container; one of
// its arguments is empty each time.
func eachEnv(p *corev1.Pod, f func(corev1.EnvFromSource, corev1.EnvVar)) {
	one := func(from []corev1.EnvFromSource, env []corev1.EnvVar) {
		for _, s := range from {
			f(s, corev1.EnvVar{})
		}
		for _, e := range env {
			f(corev1.EnvFromSource{}, e)
		}
	}
	for i := range p.Spec.InitContainers {
		one(p.Spec.InitContainers[i].EnvFrom, p.Spec.InitContainers[i].Env)
	}
	for i := range p.Spec.Containers {
		one(p.Spec.Containers[i].EnvFrom, p.Spec.Containers[i].Env)
	}
	for i := range p.Spec.EphemeralContainers {
		one(p.Spec.EphemeralContainers[i].EnvFrom, p.Spec.EphemeralContainers[i].Env)
	}
}
