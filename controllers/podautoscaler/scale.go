package podautoscaler

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scale is the scale subresource of an autoscaler's target, of any kind.
type scale struct {
	target *unstructured.Unstructured // its name and kind
	object *unstructured.Unstructured

	spec, status int32 // replicas wanted, and there
	selector     string
}

// String names the target.
func (s *scale) String() string {
	return fmt.Sprintf("%s/%s/%s", s.target.GetKind(), s.target.GetNamespace(), s.target.GetName())
}

func (r *Reconciler) readScale(ctx context.Context, autoscaler *autoscalingv2.HorizontalPodAutoscaler) (*scale, error) {
	ref := autoscaler.Spec.ScaleTargetRef
	group, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, fmt.Errorf("invalid API version in scale target reference: %w", err)
	}
	s := &scale{target: &unstructured.Unstructured{}, object: &unstructured.Unstructured{}}
	s.target.SetGroupVersionKind(group.WithKind(ref.Kind))
	s.target.SetNamespace(autoscaler.Namespace)
	s.target.SetName(ref.Name)
	if err := r.Client.SubResource("scale").Get(ctx, s.target, s.object); err != nil {
		return nil, err
	}
	for _, each := range []struct {
		replicas *int32
		path     []string
	}{{&s.spec, []string{"spec", "replicas"}}, {&s.status, []string{"status", "replicas"}}} {
		n, _, err := unstructured.NestedInt64(s.object.Object, each.path...)
		if err != nil {
			return nil, fmt.Errorf("read scale of %s: %w", s, err)
		}
		*each.replicas = int32(n)
	}
	if s.selector, _, err = unstructured.NestedString(s.object.Object, "status", "selector"); err != nil {
		return nil, fmt.Errorf("read scale of %s: %w", s, err)
	}
	return s, nil
}

func (r *Reconciler) writeScale(ctx context.Context, s *scale, replicas int32) error {
	if err := unstructured.SetNestedField(s.object.Object, int64(replicas), "spec", "replicas"); err != nil {
		return err
	}
	return r.Client.SubResource("scale").Update(ctx, s.target, client.WithSubResourceBody(s.object))
}
