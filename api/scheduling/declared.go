package scheduling

import (
	"context"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	declared "k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// features are those that the rules ask for. All are on: who switches on a
// version that is off by default wants what it has.
var features = map[string]bool{"CompositePodGroup": true, "PodGroupPreemptionPolicy": true, "TopologyAwareWorkloadScheduling": true}

// rules are checks that k8s.io/api has made of the markers beside the fields
// of a type. It has them for the types of v1alpha3.
type rules[T any] func(ctx context.Context, op operation.Operation, p *field.Path, obj, old *T) field.ErrorList

// check applies the rules to a part of an object. Without an old one the object
// is new; what did not change is not judged again. Rules that Kubernetes itself
// only tries out (alpha) refuse nothing.
func (r rules[T]) check(p *field.Path, obj, old *T) field.ErrorList {
	ctx, op := context.Background(), operation.Operation{Type: operation.Create, Options: features}
	if old != nil {
		if apiequality.Semantic.DeepEqual(obj, old) {
			return nil
		}
		op.Type = operation.Update
	}
	return declared.FilterEnforcedDeclarativeErrors(ctx, r(ctx, op, p, obj, old), false)
}

// wire is a type that can be read from protobuf.
type wire[T any] interface {
	*T
	Unmarshal(data []byte) error
}

// message is a part of an object that can be written as protobuf.
type message interface {
	Marshal() ([]byte, error)
}

// checkBeta applies rules of v1alpha3 to a part of an object of v1beta1. The
// versions have the same fields under the same numbers. old is nil when the
// object is new.
func checkBeta[T any, P wire[T]](r rules[T], p *field.Path, obj, old message) field.ErrorList {
	inAlpha := func(m message) (*T, error) {
		data, err := m.Marshal()
		if err != nil {
			return nil, fmt.Errorf("write %T: %w", m, err)
		}
		out := new(T)
		if err := P(out).Unmarshal(data); err != nil {
			return nil, fmt.Errorf("read %T: %w", out, err)
		}
		return out, nil
	}
	now, err := inAlpha(obj)
	if err != nil {
		return field.ErrorList{field.InternalError(p, err)}
	}
	if old == nil {
		return r.check(p, now, nil)
	}
	before, err := inAlpha(old)
	if err != nil {
		return field.ErrorList{field.InternalError(p, err)}
	}
	return r.check(p, now, before)
}
