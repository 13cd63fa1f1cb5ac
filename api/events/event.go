package events

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/validate"
)

// Event is an event as newer recorders write it. The Go type is the one that
// both groups are worked on in; api/scheme converts.
var Event = api.Of[corev1.Event]{
	Group: eventsv1.GroupName, Version: "v1", Kind: "Event", Resource: "events",
	NameValidation:  apivalidation.NameIsDNSSubdomain,
	Uncollected:     true,
	ShortNames:      []string{"ev"},
	StorageVersion:  corev1.SchemeGroupVersion,
	StorageResource: schema.GroupResource{Resource: "events"},
	CreateOnUpdate:  true,

	Validate:       validateEvent,
	ValidateCreate: validateNew,
	ValidateUpdate: validateEventUpdate,

	Fields:  core.EventFields,
	Indexed: core.Event.Indexed,
	Columns: core.EventColumns,
}

// validateEvent lets events of the core group pass that were there before:
// an update through this group finds them as they are.
func validateEvent(e *corev1.Event) field.ErrorList {
	if e.ResourceVersion != "" && e.EventTime.IsZero() {
		return core.ValidateEvent(e)
	}
	return core.ValidateNewEvent(e)
}

// validateNew checks the type, and that the fields of old recorders are unset.
func validateNew(obj *corev1.Event) field.ErrorList {
	var e validate.Errors
	if obj.Type != corev1.EventTypeNormal && obj.Type != corev1.EventTypeWarning {
		e.Invalidf(field.NewPath("type"), "", "has invalid value: %v", obj.Type)
	}
	const unset = "needs to be unset"
	if !obj.FirstTimestamp.IsZero() {
		e.Invalid(field.NewPath("firstTimestamp"), "", unset)
	}
	if !obj.LastTimestamp.IsZero() {
		e.Invalid(field.NewPath("lastTimestamp"), "", unset)
	}
	if obj.Count != 0 {
		e.Invalid(field.NewPath("count"), "", unset)
	}
	if obj.Source.Component != "" || obj.Source.Host != "" {
		e.Invalid(field.NewPath("source"), "", unset)
	}
	return e.List()
}

// validateEventUpdate lets only the series change.
func validateEventUpdate(obj, old *corev1.Event) field.ErrorList {
	var e validate.Errors
	same := func(now, before any, path ...string) {
		e.Add(apivalidation.ValidateImmutableField(now, before, field.NewPath(path[0], path[1:]...)))
	}
	same(obj.InvolvedObject, old.InvolvedObject, "involvedObject")
	same(obj.Reason, old.Reason, "reason")
	same(obj.Message, old.Message, "message")
	same(obj.Source, old.Source, "source")
	same(obj.FirstTimestamp, old.FirstTimestamp, "firstTimestamp")
	same(obj.LastTimestamp, old.LastTimestamp, "lastTimestamp")
	same(obj.Count, old.Count, "count")
	same(obj.Type, old.Type, "type")
	same(obj.EventTime, old.EventTime, "eventTime")
	same(obj.Action, old.Action, "action")
	same(obj.Related, old.Related, "related")
	same(obj.ReportingController, old.ReportingController, "reportingController")
	same(obj.ReportingInstance, old.ReportingInstance, "reportingInstance")
	return e.List()
}
