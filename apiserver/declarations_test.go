package apiserver_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestServerActsOnTheDeclarations sees a few kinds through a real API server.
func TestServerActsOnTheDeclarations(t *testing.T) {
	ctx, c := t.Context(), clustertest.APIServer(t).Client()
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "default"} }
	labels := map[string]string{"app": "web"}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}
	create := func(obj client.Object) {
		t.Helper()
		if err := c.Create(ctx, obj); err != nil {
			t.Fatalf("create %T: %v", obj, err)
		}
	}

	d := &appsv1.Deployment{ObjectMeta: meta("web"), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template,
	}}
	create(d)
	if d.Generation != 1 || *d.Spec.RevisionHistoryLimit != 10 {
		t.Errorf("deployment: generation %d, spec %+v", d.Generation, d.Spec)
	}

	once := template.DeepCopy()
	once.Labels, once.Spec.RestartPolicy = nil, corev1.RestartPolicyNever
	j := &batchv1.Job{ObjectMeta: meta("sum"), Spec: batchv1.JobSpec{Template: *once}}
	create(j)
	if got := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; got != string(j.UID) || got == "" {
		t.Errorf("job of UID %s selects %q", j.UID, got)
	}

	s := &corev1.Secret{ObjectMeta: meta("key"), StringData: map[string]string{"a": "1"}}
	create(s)
	if string(s.Data["a"]) != "1" || s.Type != corev1.SecretTypeOpaque {
		t.Errorf("secret %+v", s)
	}

	svc := &corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}}
	create(svc)
	if svc.Spec.ClusterIP == "" || len(svc.Spec.ClusterIPs) != 1 {
		t.Errorf("service %+v", svc.Spec)
	}
	svc.Spec.Type = corev1.ServiceTypeNodePort
	if err := c.Update(ctx, svc); err != nil || svc.Spec.Ports[0].NodePort == 0 {
		t.Errorf("as NodePort: %v, %+v", err, svc.Spec)
	}

	e := &eventsv1.Event{
		ObjectMeta: meta("web.1"), Regarding: corev1.ObjectReference{Kind: "Pod", Name: "web", Namespace: "default"},
		EventTime: metav1.NowMicro(), ReportingController: "test", ReportingInstance: "test-1", Action: "Testing", Reason: "Tested", Type: "Normal", Note: "hello",
	}
	create(e)
	same := &corev1.Event{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(e), same); err != nil || same.Message != "hello" || same.UID != e.UID {
		t.Errorf("the event in the core group: %v, %+v", err, same)
	}
	var list corev1.EventList
	if err := c.List(ctx, &list, client.InNamespace("default"), client.MatchingFields{"involvedObject.name": "web"}); err != nil || len(list.Items) != 1 {
		t.Errorf("events of the pod: %v, %d", err, len(list.Items))
	}
	var regarding eventsv1.EventList
	if err := c.List(ctx, &regarding, client.InNamespace("default"), client.MatchingFields{"regarding.name": "web"}); err != nil || len(regarding.Items) != 1 {
		t.Errorf("events regarding the pod: %v, %d", err, len(regarding.Items))
	}
}
