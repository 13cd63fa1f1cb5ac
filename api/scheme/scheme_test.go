package scheme_test

import (
	"net/url"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

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

func TestFieldLabels(t *testing.T) {
	s := scheme.New()
	pod, event := corev1.SchemeGroupVersion.WithKind("Pod"), eventsv1.SchemeGroupVersion.WithKind("Event")
	for _, c := range []struct {
		name  string
		kind  schema.GroupVersionKind
		label string
		want  string
		err   string
	}{
		{"a kind's fields are known", pod, "spec.nodeName", "spec.nodeName", ""},
		{"names are always known", pod, "metadata.namespace", "metadata.namespace", ""},
		{"old names mean new ones", pod, "spec.host", "spec.nodeName", ""},
		{"other fields are not", pod, "spec.dnsPolicy", "", "field label not supported: spec.dnsPolicy"},
		{"a group has its own names", event, "regarding.name", "involvedObject.name", ""},
		{"and no others", event, "involvedObject.name", "", "field label not supported: involvedObject.name"},
		{"jobs say it their way", batchv1.SchemeGroupVersion.WithKind("Job"), "spec.suspend", "", `field label "spec.suspend" not supported for Job`},
		{"slices say of which kind", resourcev1.SchemeGroupVersion.WithKind("ResourceSlice"), "bad", "", "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: bad"},
		{"what is in no namespace has none", corev1.SchemeGroupVersion.WithKind("Namespace"), "metadata.namespace", "", "field label not supported: metadata.namespace"},
		{"a kind without fields has its name", appsv1.SchemeGroupVersion.WithKind("Deployment"), "metadata.name", "metadata.name", ""},
		{
			"a kind without fields says so", appsv1.SchemeGroupVersion.WithKind("Deployment"), "status.replicas", "",
			`"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			label, _, err := s.ConvertFieldLabel(c.kind, c.label, "x")
			if label != c.want {
				t.Errorf("label %q", label)
			}
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOptionsAreReadFromQueries(t *testing.T) {
	codec := runtime.NewParameterCodec(scheme.New())
	logs := &corev1.PodLogOptions{}
	query := url.Values{"follow": {"true"}, "tailLines": {"5"}, "container": {"web"}, "sinceTime": {"2026-01-02T03:04:05Z"}, "previous": {"false"}}
	if err := codec.DecodeParameters(query, corev1.SchemeGroupVersion, logs); err != nil {
		t.Fatal(err)
	}
	if !logs.Follow || *logs.TailLines != 5 || logs.Container != "web" || logs.SinceTime.Year() != 2026 || logs.Previous {
		t.Errorf("%+v", logs)
	}
	exec := &corev1.PodExecOptions{}
	if err := codec.DecodeParameters(url.Values{"command": {"ls", "-l"}, "stdout": {"1"}}, corev1.SchemeGroupVersion, exec); err != nil {
		t.Fatal(err)
	}
	if len(exec.Command) != 2 || !exec.Stdout || exec.Stdin {
		t.Errorf("%+v", exec)
	}
	ports := &corev1.PodPortForwardOptions{}
	if err := codec.DecodeParameters(url.Values{"ports": {"80", "443"}}, corev1.SchemeGroupVersion, ports); err != nil {
		t.Fatal(err)
	}
	if len(ports.Ports) != 2 || ports.Ports[1] != 443 {
		t.Errorf("%+v", ports)
	}
	if err := codec.DecodeParameters(url.Values{"tailLines": {"many"}}, corev1.SchemeGroupVersion, logs); err == nil {
		t.Error("a number that is none was read")
	}
}

func TestDecodingDefaults(t *testing.T) {
	codecs := serializer.NewCodecFactory(scheme.New())
	for _, text := range []string{
		`{"apiVersion":"apps/v1","kind":"Deployment","spec":{}}`,
		`{"apiVersion":"apps/v1","kind":"DeploymentList","items":[{"spec":{}}]}`,
	} {
		obj, err := runtime.Decode(codecs.UniversalDecoder(schema.GroupVersion{Group: "apps", Version: runtime.APIVersionInternal}), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d, ok := obj.(*appsv1.Deployment)
		if list, is := obj.(*appsv1.DeploymentList); is {
			d, ok = &list.Items[0], true
		}
		if !ok || *d.Spec.Replicas != 1 {
			t.Errorf("%#v", obj)
		}
	}
}

func TestSubresourcesAreRegistered(t *testing.T) {
	s := scheme.New()
	for _, gvk := range []schema.GroupVersionKind{
		autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		policyv1.SchemeGroupVersion.WithKind("Eviction"),
		corev1.SchemeGroupVersion.WithKind("Binding"),
		{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
		{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenReview"},
		{Group: "authorization.k8s.io", Version: "v1", Kind: "SelfSubjectAccessReview"},
	} {
		if !s.Recognizes(gvk) || !s.Recognizes(gvk.GroupKind().WithVersion(runtime.APIVersionInternal)) {
			t.Errorf("%s is not registered", gvk)
		}
	}
}

func TestSchemesShareNothing(t *testing.T) {
	a, b := scheme.New(), scheme.New()
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	a.AddKnownTypeWithName(gv.WithKind("Thing"), &corev1.ConfigMap{})
	if b.Recognizes(gv.WithKind("Thing")) {
		t.Error("a type of one scheme is in the other")
	}
	metav1.AddToGroupVersion(a, gv)
}
