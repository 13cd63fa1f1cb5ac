package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

// topologyLabels are a node's that its pods get too.
var topologyLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// podTopology gives a pod the zone and the region of its node when it is bound,
// so that its containers can read them.
type podTopology struct{ objects Objects }

func (podTopology) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit implements admission.MutationInterface.
func (p podTopology) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil
	}
	switch obj := a.GetObject().(type) {
	case *corev1.Pod:
		if a.GetSubresource() == "" && obj.Spec.NodeName != "" {
			return p.label(ctx, obj.Spec.NodeName, &obj.Labels)
		}
	case *corev1.Binding:
		if a.GetSubresource() == "binding" && obj.Target.Kind == "Node" {
			return p.label(ctx, obj.Target.Name, &obj.Labels)
		}
	}
	return nil
}

func (p podTopology) label(ctx context.Context, name string, labels *map[string]string) error {
	node, err := p.objects.Node(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, k := range topologyLabels {
		if v, ok := node.Labels[k]; ok {
			if *labels == nil {
				*labels = map[string]string{}
			}
			(*labels)[k] = v
		}
	}
	return nil
}
