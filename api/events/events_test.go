package events_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api/events"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestNewEvents(t *testing.T) {
	e := &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: "default"},
		InvolvedObject:      corev1.ObjectReference{Kind: "Pod", Name: "web", Namespace: "default"},
		EventTime:           metav1.NowMicro(),
		ReportingController: "skiff.example.com/agent", ReportingInstance: "n1",
		Action: "Pulling", Reason: "Pulled", Type: corev1.EventTypeNormal,
	}
	k := events.Event
	kindtest.Errors(t, append(k.Validate(e), k.ValidateCreate(e)...))
	old := e.DeepCopy()
	old.Count, old.Type = 3, "Odd"
	kindtest.Errors(t, append(k.Validate(old), k.ValidateCreate(old)...), `type: Invalid value: "": has invalid value: Odd`,
		`count: Invalid value: "": needs to be unset`)
	series := e.DeepCopy()
	series.Series = &corev1.EventSeries{Count: 2, LastObservedTime: metav1.NowMicro()}
	kindtest.Errors(t, append(k.Validate(series), k.ValidateUpdate(series, e)...))
	typed := e.DeepCopy()
	typed.Type, typed.ResourceVersion = "Odd", "1"
	kindtest.Errors(t, append(k.Validate(typed), k.ValidateUpdate(typed, e)...), `type: Invalid value: "Odd": field is immutable`)
	nobody := e.DeepCopy()
	nobody.ReportingController = "Not a name!"
	kindtest.Errors(t, k.Validate(nobody), `reportingController: Invalid value: "Not a name!": name part must consist of`)
	series.Reason = "Other"
	kindtest.Errors(t, k.ValidateUpdate(series, e), `reason: Invalid value: "Other": field is immutable`)
}
