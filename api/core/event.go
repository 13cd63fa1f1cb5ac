package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// EventTextLimit is the longest reason, action and reporting instance of an
// event in bytes, EventNoteLimit the longest message.
const (
	EventTextLimit = 128
	EventNoteLimit = 1024
)

// Event is what happened to an object. The events of events.k8s.io are these.
var Event = api.Of[corev1.Event]{
	Group: corev1.GroupName, Version: "v1", Kind: "Event", Resource: "events",
	NameValidation: validate.PathSegment,
	Uncollected:    true,
	FreeFinalizers: true,
	ShortNames:     []string{"ev"},
	CreateOnUpdate: true,

	Validate: ValidateEvent,

	Fields:  EventFields,
	Indexed: []string{"involvedObject.uid"},
	Columns: EventColumns,
}

// EventFields are what events of both groups are selected by.
func EventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

// EventColumns are the table of events of both groups.
var EventColumns = []api.Column[corev1.Event]{
	{Name: "Last Seen", Description: eventDoc["lastTimestamp"], Value: func(e *corev1.Event) any { return lastSeen(e) }},
	{Name: "Type", Description: eventDoc["type"], Value: func(e *corev1.Event) any { return e.Type }},
	{Name: "Reason", Description: eventDoc["reason"], Value: func(e *corev1.Event) any { return e.Reason }},
	{Name: "Object", Description: eventDoc["involvedObject"], Value: func(e *corev1.Event) any { return eventObject(e) }},
	{
		Name: "Subobject", Priority: 1, Description: corev1.ObjectReference{}.SwaggerDoc()["fieldPath"],
		Value: func(e *corev1.Event) any { return e.InvolvedObject.FieldPath },
	},
	{Name: "Source", Priority: 1, Description: eventDoc["source"], Value: func(e *corev1.Event) any { return eventSource(e) }},
	{Name: "Message", Description: eventDoc["message"], Value: func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }},
	{Name: "First Seen", Priority: 1, Description: eventDoc["firstTimestamp"], Value: func(e *corev1.Event) any { return firstSeen(e) }},
	{Name: "Count", Priority: 1, Description: eventDoc["count"], Value: func(e *corev1.Event) any { return eventCount(e) }},
	{
		Name: "Name", Format: "name", Priority: 1, Description: print.NameDoc(),
		Value: func(e *corev1.Event) any { return e.Name },
	},
}

var eventDoc = corev1.Event{}.SwaggerDoc()

func firstSeen(e *corev1.Event) metav1.Time {
	if e.FirstTimestamp.IsZero() {
		return metav1.NewTime(e.EventTime.Time)
	}
	return e.FirstTimestamp
}

func lastSeen(e *corev1.Event) metav1.Time {
	switch {
	case e.Series != nil:
		return metav1.NewTime(e.Series.LastObservedTime.Time)
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp
	}
	return firstSeen(e)
}

func eventCount(e *corev1.Event) int64 {
	switch {
	case e.Series != nil:
		return int64(e.Series.Count)
	case e.Count == 0:
		return 1 // an event of events.k8s.io that happened once has no count
	}
	return int64(e.Count)
}

func eventObject(e *corev1.Event) string {
	kind := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name == "" {
		return kind
	}
	return kind + "/" + e.InvolvedObject.Name
}

func eventSource(e *corev1.Event) string {
	component, instance := e.ReportingController, e.ReportingInstance
	if component == "" {
		component = e.Source.Component
	}
	if instance == "" {
		instance = e.Source.Host
	}
	if instance == "" {
		return component
	}
	return component + ", " + instance
}

// ValidateEvent checks what is demanded of events of the core group. Those
// with an eventTime come from newer recorders, which fill more fields.
func ValidateEvent(obj *corev1.Event) field.ErrorList {
	return validateEvent(obj, "reportingComponent")
}

// validateEvent names the reporting controller's field as the group does.
func validateEvent(obj *corev1.Event, controller string) field.ErrorList {
	var e validate.Errors
	of, fld := obj.InvolvedObject.Namespace, field.NewPath("involvedObject", "namespace")
	// Events of objects without a namespace are kept in one of these.
	home := obj.Namespace == metav1.NamespaceDefault || obj.Namespace == metav1.NamespaceSystem
	if obj.EventTime.IsZero() {
		if obj.Namespace != of && (of != "" || !home) {
			e.Invalid(fld, of, "does not match event.namespace")
		}
	} else {
		if of == "" && !home {
			e.Invalid(fld, of, "does not match event.namespace")
		}
		checkReporter(&e, obj, controller)
	}
	e.Messages(field.NewPath("namespace"), obj.Namespace, validation.IsDNS1123Subdomain(obj.Namespace))
	return e.List()
}

// checkReporter checks who reported what. controller is what the group calls
// the field of the reporting controller.
func checkReporter(e *validate.Errors, obj *corev1.Event, controller string) {
	e.Text(field.NewPath(controller), obj.ReportingController)
	e.QualifiedName(field.NewPath(controller), obj.ReportingController)
	for _, text := range []struct{ name, value string }{
		{"reportingInstance", obj.ReportingInstance}, {"action", obj.Action}, {"reason", obj.Reason},
	} {
		fld := field.NewPath(text.name)
		e.Text(fld, text.value)
		if len(text.value) > EventTextLimit {
			e.Invalidf(fld, "", "can have at most %v characters", EventTextLimit)
		}
	}
	if len(obj.Message) > EventNoteLimit {
		e.Invalidf(field.NewPath("message"), "", "can have at most %v characters", EventNoteLimit)
	}
}

// ValidateNewEvent checks what events.k8s.io demands beyond [ValidateEvent].
func ValidateNewEvent(obj *corev1.Event) field.ErrorList {
	var e validate.Errors
	e.Add(validateEvent(obj, "reportingController"))
	if obj.EventTime.IsZero() {
		e.Required(field.NewPath("eventTime"), "")
		checkReporter(&e, obj, "reportingController")
	}
	if s := obj.Series; s != nil {
		if s.Count < 2 {
			e.Invalid(field.NewPath("series.count"), "", "should be at least 2")
		}
		if s.LastObservedTime.IsZero() {
			e.Required(field.NewPath("series.lastObservedTime"), "")
		}
	}
	return e.List()
}
