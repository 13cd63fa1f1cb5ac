package scheme_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiffcluster/skiff/api/scheme"
)

func TestEventsOfBothGroupsAreOneObject(t *testing.T) {
	s := scheme.New()
	in := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"},
		Note:       "Pulled", Reason: "Pulled", Type: "Normal",
		Regarding: corev1.ObjectReference{Kind: "Pod", Name: "web"},
		Series:    &eventsv1.EventSeries{Count: 3},
	}
	hub, err := s.ConvertToVersion(in, schema.GroupVersion{Group: eventsv1.GroupName, Version: runtime.APIVersionInternal})
	if err != nil {
		t.Fatal(err)
	}
	core, ok := hub.(*corev1.Event)
	if !ok || core.Message != "Pulled" || core.InvolvedObject.Name != "web" || core.Series.Count != 3 {
		t.Fatalf("as the internal type: %#v", hub)
	}
	for gv, want := range map[schema.GroupVersion]string{
		corev1.SchemeGroupVersion:   "/v1, Kind=Event",
		eventsv1.SchemeGroupVersion: "events.k8s.io/v1, Kind=Event",
	} {
		out, err := s.ConvertToVersion(hub, gv)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.GetObjectKind().GroupVersionKind().String(); got != want {
			t.Errorf("to %s: %s", gv, got)
		}
	}
	list, err := s.ConvertToVersion(&corev1.EventList{Items: []corev1.Event{*core}}, eventsv1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := list.(*eventsv1.EventList); !ok || len(l.Items) != 1 || l.Items[0].Note != "Pulled" {
		t.Fatalf("list: %#v", list)
	}
}
