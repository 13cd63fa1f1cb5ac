package lifecycle

import (
	"fmt"
	"slices"
	"time"

	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const maxRequesters = 100

// Eviction is how a pod is evicted: who wants it, and who works on it in which
// order.
var Eviction = api.Of[lifecyclev1alpha1.Eviction]{
	Group: lifecyclev1alpha1.GroupName, Version: "v1alpha1", Kind: "Eviction", Resource: "evictions",
	Generation:            true,
	NoUnconditionalUpdate: true,

	ValidateCreate: func(v *lifecyclev1alpha1.Eviction) field.ErrorList {
		var e validate.Errors
		checkTarget(&e, field.NewPath("spec", "target"), v.Spec.Target.Pod)
		return e.List()
	},
	ValidateUpdate: func(v, old *lifecyclev1alpha1.Eviction) field.ErrorList {
		if ptr.Equal(v.Spec.Target.Pod, old.Spec.Target.Pod) {
			return nil
		}
		return immutable(field.NewPath("spec", "target"))
	},
	Status: &api.Status[lifecyclev1alpha1.Eviction]{
		KeepMetadata: true,
		Validate: func(v, old *lifecyclev1alpha1.Eviction) field.ErrorList {
			return CheckEvictionStatus(&v.Status, &old.Status, time.Now())
		},
	},

	Columns: evictionColumns,
}

// CheckEvictionStatus checks a change of an eviction's status that is made now.
func CheckEvictionStatus(s, old *lifecyclev1alpha1.EvictionStatus, now time.Time) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	checkConditions(&e, fld.Child("conditions"), s.Conditions)
	ended := checkEnd(&e, fld.Child("conditions"), s.Conditions, old.Conditions)
	checkObserved(&e, fld.Child("observedGeneration"), s.ObservedGeneration, old.ObservedGeneration)
	checkRequesters(&e, fld.Child("requesters"), s.Requesters)
	r := responders{now: now, ended: ended, targets: s.TargetResponders, oldTargets: old.TargetResponders, statuses: s.Responders, oldStatuses: old.Responders}
	r.checkTargets(&e, fld.Child("targetResponders"))
	r.checkStatuses(&e, fld.Child("responders"))
	return e.List()
}

// checkEnd wants that an eviction that ended stays as it is, and says whether
// it ended.
func checkEnd(e *validate.Errors, p *field.Path, conditions, old []metav1.Condition) (ended bool) {
	for _, t := range []lifecyclev1alpha1.EvictionConditionType{lifecyclev1alpha1.EvictionConditionTargetEvicted, lifecyclev1alpha1.EvictionConditionFailed} {
		is, was := apimeta.FindStatusCondition(conditions, string(t)), apimeta.FindStatusCondition(old, string(t))
		if is != nil && is.Status == metav1.ConditionTrue {
			ended = true
		}
		if was != nil && was.Status == metav1.ConditionTrue {
			ended = true
			if !apiequality.Semantic.DeepEqual(is, was) {
				e.Invalid(p, conditions, fmt.Sprintf("%s condition status cannot be reverted", t))
			}
		}
	}
	return ended
}

func checkRequesters(e *validate.Errors, p *field.Path, requesters []lifecyclev1alpha1.Requester) {
	if len(requesters) > maxRequesters {
		e.TooMany(p, len(requesters), maxRequesters)
		return
	}
	checkOnce(e, p, requesters, func(r *lifecyclev1alpha1.Requester) string { return r.Name })
	for i := range requesters {
		checkKey(e, p.Index(i).Child("name"), requesters[i].Name)
		checkIntent(e, p.Index(i).Child("intent"), requesters[i].Intent)
	}
}

// checkOnce reports entries whose name an earlier one has, and says whether
// there are none.
func checkOnce[T any](e *validate.Errors, p *field.Path, list []T, name func(*T) string) bool {
	seen, ok := sets.New[string](), true
	for i := range list {
		n := name(&list[i])
		if seen.Has(n) {
			e.Duplicate(p.Index(i), list[i])
			ok = false
		}
		seen.Insert(n)
	}
	return ok
}

var evictionColumns = []api.Column[lifecyclev1alpha1.Eviction]{
	print.Name[lifecyclev1alpha1.Eviction](),
	evictionColumn("Target", lifecyclev1alpha1.EvictionSpec{}.SwaggerDoc()["target"], 0, func(v *lifecyclev1alpha1.Eviction) string {
		name, _ := targetCells(v.Spec.Target.Pod)
		return name
	}),
	evictionColumn("Target Type", lifecyclev1alpha1.EvictionSpec{}.SwaggerDoc()["target"], 0, func(v *lifecyclev1alpha1.Eviction) string {
		_, kind := targetCells(v.Spec.Target.Pod)
		return kind
	}),
	evictionColumn("Status", lifecyclev1alpha1.EvictionStatus{}.SwaggerDoc()["conditions"], 0, func(v *lifecyclev1alpha1.Eviction) string {
		return summary(v.Status.ObservedGeneration, v.Status.Conditions)
	}),
	evictionColumn("Active Responder", lifecyclev1alpha1.TargetResponder{}.SwaggerDoc()["state"], 0, func(v *lifecyclev1alpha1.Eviction) string {
		name, begun := unset, 0
		for i := range v.Status.TargetResponders {
			if begins(v.Status.TargetResponders[i].State) {
				begun++
			}
		}
		if t, _ := current(&v.Status); t != nil {
			name = t.Name
		}
		return fmt.Sprintf("%s (%d/%d)", name, begun, len(v.Status.TargetResponders))
	}),
	evictionColumn("Responder Status", lifecyclev1alpha1.ResponderStatus{}.SwaggerDoc()[""], 0, func(v *lifecyclev1alpha1.Eviction) string {
		t, s := current(&v.Status)
		switch {
		case s == nil:
			return unset
		case t.State == lifecyclev1alpha1.ResponderStateActive && s.StartTime != nil:
			return fmt.Sprintf("Started (%s ago)", print.Since(*s.StartTime))
		case t.State == lifecyclev1alpha1.ResponderStateCompleted && s.CompletionTime != nil:
			return fmt.Sprintf("%s (%s ago)", t.State, print.Since(*s.CompletionTime))
		}
		return string(t.State)
	}),
	evictionColumn("Responder Expected Finish", lifecyclev1alpha1.ResponderStatus{}.SwaggerDoc()["expectedCompletionTime"], 0, func(v *lifecyclev1alpha1.Eviction) string {
		t, s := current(&v.Status)
		switch {
		case s != nil && t.State != lifecyclev1alpha1.ResponderStateActive:
			return "-"
		case s == nil || s.StartTime == nil || s.ExpectedCompletionTime == nil:
			return print.Unknown
		case s.ExpectedCompletionTime.After(time.Now()):
			return "in " + until(*s.ExpectedCompletionTime)
		}
		return print.Since(*s.ExpectedCompletionTime) + " ago"
	}),
	evictionColumn("Requesters", lifecyclev1alpha1.EvictionStatus{}.SwaggerDoc()["requesters"], 0, func(v *lifecyclev1alpha1.Eviction) string {
		return requesters(v.Status.Requesters)
	}),
	print.Age[lifecyclev1alpha1.Eviction](),
	evictionColumn("Responder Heartbeat", lifecyclev1alpha1.ResponderStatus{}.SwaggerDoc()["heartbeatTime"], 1, func(v *lifecyclev1alpha1.Eviction) string {
		if _, s := current(&v.Status); s != nil && s.HeartbeatTime != nil {
			return print.Since(*s.HeartbeatTime) + " ago"
		}
		return unset
	}),
	evictionColumn("Responder Status Message", lifecyclev1alpha1.ResponderStatus{}.SwaggerDoc()["message"], 1, func(v *lifecyclev1alpha1.Eviction) string {
		if _, s := current(&v.Status); s != nil {
			return said(s.Message)
		}
		return unset
	}),
}

func evictionColumn(name, doc string, priority int32, value func(*lifecyclev1alpha1.Eviction) string) api.Column[lifecyclev1alpha1.Eviction] {
	return api.Column[lifecyclev1alpha1.Eviction]{
		Name: name, Description: doc, Priority: priority,
		Value: func(v *lifecyclev1alpha1.Eviction) any { return value(v) },
	}
}

// begins says whether a responder in a state is at work or was.
func begins(s lifecyclev1alpha1.ResponderStateType) bool {
	return s == lifecyclev1alpha1.ResponderStateActive || slices.Contains(ends, s)
}

// current is the responder that is at work, or else the last that was, with
// what it reports; nil when there is none.
func current(s *lifecyclev1alpha1.EvictionStatus) (*lifecyclev1alpha1.TargetResponder, *lifecyclev1alpha1.ResponderStatus) {
	var at *lifecyclev1alpha1.TargetResponder
	for i := range s.TargetResponders {
		t := &s.TargetResponders[i]
		if begins(t.State) && (at == nil || at.State != lifecyclev1alpha1.ResponderStateActive || t.State == lifecyclev1alpha1.ResponderStateActive) {
			at = t
		}
	}
	if at == nil {
		return nil, nil
	}
	i := slices.IndexFunc(s.Responders, func(r lifecyclev1alpha1.ResponderStatus) bool { return r.Name == at.Name })
	if i < 0 {
		return at, nil
	}
	return at, &s.Responders[i]
}

// requesters prints the first of those who want the eviction.
func requesters(all []lifecyclev1alpha1.Requester) string {
	var names []string
	for i := range all {
		if all[i].Intent != lifecyclev1alpha1.RequesterIntentWithdrawn {
			names = append(names, all[i].Name)
		}
	}
	slices.Sort(names)
	switch {
	case len(all) == 0:
		return print.None
	case len(names) == 0:
		return "<withdrawn>"
	case len(names) == 1:
		return names[0]
	}
	return fmt.Sprintf("%s + %d more...", names[0], len(names)-1)
}
