package lifecycle

import (
	"context"
	"fmt"
	"strings"

	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/operation"
	declared "k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxConditions = 100
	unset         = "<unset>"
)

// update tells the checks of apimachinery that an object is changed.
var update = operation.Operation{Type: operation.Update}

// pod is the pod that an eviction or a request for one is about.
type pod = lifecyclev1alpha1.EvictionPodReference

func checkTarget(e *validate.Errors, p *field.Path, target *pod) {
	if target == nil {
		e.Invalid(p, "", "must specify one of: `pod`")
		return
	}
	name, uid := p.Child("pod", "name"), p.Child("pod", "uid")
	if target.Name == "" {
		e.Required(name, "")
	} else {
		e.DNSSubdomain(name, target.Name)
	}
	if target.UID == "" {
		e.Required(uid, "")
	} else {
		e.Add(declared.UUID(context.Background(), update, uid, &target.UID, nil))
	}
}

// immutable reports a value that may not change.
func immutable(p *field.Path) field.ErrorList {
	return field.ErrorList{field.Invalid(p, nil, apivalidation.FieldImmutableErrorMsg)}
}

// checkKey checks the name of a requester or a responder: "acme.io/foo".
func checkKey(e *validate.Errors, p *field.Path, key string) {
	if key == "" {
		e.Required(p, "")
		return
	}
	e.Messages(p, key, content.IsPrefixedLabelKey(key))
}

// reserved are the domains whose names only Kubernetes gives.
var reserved = []string{"k8s.io", "kubernetes.io"}

func checkRequester(e *validate.Errors, p *field.Path, requester string) {
	before := e.Len()
	checkKey(e, p, requester)
	domain, _, _ := strings.Cut(strings.ToLower(requester), "/")
	for _, r := range reserved {
		if e.Len() == before && (domain == r || strings.HasSuffix(domain, "."+r)) {
			e.Invalid(p, requester, "domain names *."+strings.Join(reserved, ", *.")+" are reserved")
		}
	}
}

// checkObserved checks status.observedGeneration, which only grows.
func checkObserved(e *validate.Errors, p *field.Path, now, old *int64) {
	if ptr.Equal(now, old) {
		return
	}
	ctx := context.Background()
	e.Add(declared.UpdatePointer(ctx, update, p, now, old, declared.NoUnset))
	e.Add(declared.Minimum(ctx, update, p, now, nil, 1))
	e.Add(declared.Monotonic(ctx, update, p, now, old))
}

func checkConditions(e *validate.Errors, p *field.Path, conditions []metav1.Condition) {
	e.Add(metav1validation.ValidateConditions(conditions, p))
	if len(conditions) > maxConditions {
		e.TooMany(p, len(conditions), maxConditions)
	}
}

// targetCells are the name and the type of what is evicted.
func targetCells(target *pod) (name, kind string) {
	if target == nil {
		return unset, unset
	}
	return target.Name, "Pod"
}

// summary is how the status of an eviction or a request is printed.
func summary(observed *int64, conditions []metav1.Condition) string {
	for _, t := range []lifecyclev1alpha1.EvictionConditionType{lifecyclev1alpha1.EvictionConditionTargetEvicted, lifecyclev1alpha1.EvictionConditionFailed} {
		if c := apimeta.FindStatusCondition(conditions, string(t)); c != nil && c.Status == metav1.ConditionTrue {
			return fmt.Sprintf("%s (%s)", c.Type, c.Reason)
		}
	}
	if ptr.Deref(observed, 0) > 0 {
		return "Progressing"
	}
	return "Pending"
}
