package controller_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
	webv1alpha1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1alpha1"
)

// available waits until a site serves with so many pods.
func available(t *testing.T, k client.Client, site *webv1.Website, replicas int32) {
	t.Helper()
	eventually(t, fmt.Sprintf("Website %s serves with %d pods", site.Name, replicas), func() (bool, string) {
		if err := k.Get(t.Context(), client.ObjectKeyFromObject(site), site); err != nil {
			return false, err.Error()
		}
		s := site.Status
		return meta.IsStatusConditionTrue(s.Conditions, webv1.Available) && s.Replicas == replicas && s.ObservedGeneration == site.Generation, fmt.Sprintf("%+v", s)
	})
}

func gone(t *testing.T, k client.Client, obj client.Object) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s is gone", obj, obj.GetName()), func() (bool, string) {
		err := k.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
		return apierrors.IsNotFound(err), fmt.Sprint(err, obj.GetFinalizers())
	})
}

func TestASiteFromItsCreationToItsEnd(t *testing.T) {
	t.Parallel()
	k, ctx := start(t), t.Context()
	site := &webv1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}, Spec: webv1.WebsiteSpec{Greeting: "Hello"}}
	if err := k.Create(ctx, site); err != nil {
		t.Fatal(err)
	}
	if site.Spec.Image != defaultImage || site.Spec.Replicas == nil || *site.Spec.Replicas != 1 || site.Spec.Port != 80 {
		t.Errorf("defaults: got %+v", site.Spec)
	}
	available(t, k, site, 1)
	deployment, service := &appsv1.Deployment{}, &corev1.Service{}
	for _, o := range []client.Object{deployment, service} {
		if err := k.Get(ctx, client.ObjectKeyFromObject(site), o); err != nil {
			t.Fatal(err)
		}
		if !metav1.IsControlledBy(o, site) {
			t.Errorf("%T is owned by %v", o, o.GetOwnerReferences())
		}
	}
	listed := &corev1.ConfigMap{}
	if err := k.Get(ctx, directory, listed); err != nil || listed.Data["default.hello"] != "http://hello.default.svc/" {
		t.Errorf("directory: got %v, %v", listed.Data, err)
	}

	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}}
	if err := k.SubResource("scale").Update(ctx, site, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	available(t, k, site, 3)
	if err := k.SubResource("scale").Get(ctx, site, scale); err != nil || scale.Status.Replicas != 3 || scale.Status.Selector != site.Status.Selector {
		t.Errorf("scale: got %+v, %v", scale.Status, err)
	}

	// What somebody else has done to what it owns does not stay.
	if err := k.Delete(ctx, service); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is there again", func() (bool, string) {
		again := &corev1.Service{}
		err := k.Get(ctx, client.ObjectKeyFromObject(site), again)
		return err == nil && again.UID != service.UID, fmt.Sprint(err)
	})

	if err := k.Delete(ctx, site); err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{site, deployment, service} {
		gone(t, k, o)
	}
	if err := k.Get(ctx, directory, listed); err != nil || len(listed.Data) != 0 {
		t.Errorf("directory in the end: got %v, %v", listed.Data, err)
	}
}

func TestAnOldClientLosesNothing(t *testing.T) {
	t.Parallel()
	k, ctx := start(t), t.Context()
	site := &webv1.Website{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"},
		Spec:       webv1.WebsiteSpec{Greeting: "Hello", Image: "example.com/other:v2", Port: 8080},
	}
	if err := k.Create(ctx, site); err != nil {
		t.Fatal(err)
	}
	available(t, k, site, 1)
	old := &webv1alpha1.Website{}
	if err := k.Get(ctx, client.ObjectKeyFromObject(site), old); err != nil {
		t.Fatal(err)
	}
	if old.Spec.Message != "Hello" || !old.Status.Ready || old.Status.URL != "http://hello.default.svc:8080/" {
		t.Errorf("as v1alpha1: got %+v", old)
	}
	old.Spec.Message = "Good bye"
	if err := k.Update(ctx, old); err != nil {
		t.Fatal(err)
	}
	available(t, k, site, 1)
	if site.Spec.Greeting != "Good bye" || site.Spec.Image != "example.com/other:v2" || site.Spec.Port != 8080 || len(site.Annotations) != 0 {
		t.Errorf("as v1: got %+v, annotations %v", site.Spec, site.Annotations)
	}
	young := &webv1alpha1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "young"}, Spec: webv1alpha1.WebsiteSpec{Message: "Hi"}}
	if err := k.Create(ctx, young); err != nil {
		t.Fatal(err)
	}
	if young.Spec.Size == nil || *young.Spec.Size != 1 {
		t.Errorf("defaults of v1alpha1: got %+v", young.Spec)
	}
}

func TestWhatIsRefusedIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	k := start(t)
	for _, c := range []struct {
		name string
		site webv1.Website
		want string
	}{
		{"by the webhook: a greeting of two lines", webv1.Website{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: webv1.WebsiteSpec{Greeting: "one\ntwo"}}, `spec.greeting: Invalid value: "one\ntwo": must be one line`},
		{"by the webhook: a name that is no service's", webv1.Website{ObjectMeta: metav1.ObjectMeta{Name: "a.b"}, Spec: webv1.WebsiteSpec{Greeting: "Hello"}}, `metadata.name: Invalid value: "a.b"`},
		{"by the schema: no greeting", webv1.Website{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, "spec.greeting in body should be at least 1 chars long"},
		{"by the schema: a port that is none", webv1.Website{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: webv1.WebsiteSpec{Greeting: "Hello", Port: 70000}}, "spec.port in body should be less than or equal to 65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.site.Namespace = "default"
			err := k.Create(t.Context(), &c.site)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
