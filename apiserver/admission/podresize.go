package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/component-helpers/nodedeclaredfeatures/types"
	"k8s.io/component-helpers/resource"
)

// podResize refuses to give a running pod more than its node has.
type podResize struct{ objects Objects }

func (podResize) Handles(op admission.Operation) bool { return op == admission.Update }

// Validate implements admission.ValidationInterface.
func (p podResize) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, _, ok := changedOnNode(a, "resize")
	if !ok {
		return nil
	}
	node, err := nodeOf(ctx, p.objects, a, pod)
	if err != nil {
		return err
	}
	if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != "linux" {
		return refusedResize(a, "UnsupportedPlatform", fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
	}
	asked, has := resource.PodRequests(pod, resource.PodResourcesOptions{}), node.Status.Allocatable
	var short []string
	if asked.Cpu().Cmp(*has.Cpu()) > 0 {
		short = append(short, fmt.Sprintf("cpu, requested: %d, allocatable: %d", asked.Cpu().MilliValue(), has.Cpu().MilliValue()))
	}
	if asked.Memory().Cmp(*has.Memory()) > 0 {
		short = append(short, fmt.Sprintf("memory, requested: %d, allocatable: %d", asked.Memory().Value(), has.Memory().Value()))
	}
	if len(short) > 0 {
		return refusedResize(a, "NodeCapacity", fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(short, "; ")))
	}
	return nil
}

func refusedResize(a admission.Attributes, why metav1.CauseType, cause error) error {
	err := admission.NewForbidden(a, cause)
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: why})
	}
	return err
}

// nodeFeatures refuses a change of a running pod that its node can't make.
type nodeFeatures struct {
	objects Objects
	version *version.Version
}

func newNodeFeatures(c Config) (admission.Interface, error) {
	v, err := version.ParseSemantic(c.Version)
	return nodeFeatures{c.Objects, v}, err
}

func (nodeFeatures) Handles(op admission.Operation) bool { return op == admission.Update }

// Validate implements admission.ValidationInterface.
func (p nodeFeatures) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, old, ok := changedOnNode(a, "", "resize")
	if !ok {
		return nil
	}
	framework := nodedeclaredfeatures.DefaultFramework
	needed, err := framework.InferForPodUpdate(&types.PodInfo{Spec: &old.Spec, Status: &old.Status}, &types.PodInfo{Spec: &pod.Spec, Status: &pod.Status}, p.version)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to infer pod capability requirements: %w", err))
	}
	if needed.IsEmpty() {
		return nil
	}
	node, err := nodeOf(ctx, p.objects, a, pod)
	if err != nil {
		return err
	}
	match, err := framework.MatchNode(needed, node)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to match pod requirements against node %q: %w", node.Name, err))
	}
	if !match.IsMatch {
		return admission.NewForbidden(a, fmt.Errorf("pod update requires features %s which are not available on node %q", strings.Join(match.UnsatisfiedRequirements, ", "), node.Name))
	}
	return nil
}

// changedOnNode gives the pod of an update, by one of some subresources, of the
// spec of a pod that has a node.
func changedOnNode(a admission.Attributes, subresources ...string) (pod, old *corev1.Pod, ok bool) {
	if a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil, nil, false
	}
	for _, s := range subresources {
		if a.GetSubresource() != s {
			continue
		}
		pod, is := a.GetObject().(*corev1.Pod)
		old, was := a.GetOldObject().(*corev1.Pod)
		return pod, old, is && was && pod.Spec.NodeName != "" && pod.Generation != old.Generation
	}
	return nil, nil, false
}

func nodeOf(ctx context.Context, objects Objects, a admission.Attributes, pod *corev1.Pod) (*corev1.Node, error) {
	node, err := objects.Node(ctx, pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		return nil, admission.NewForbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	case err != nil:
		return nil, admission.NewForbidden(a, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err))
	}
	return node, nil
}
