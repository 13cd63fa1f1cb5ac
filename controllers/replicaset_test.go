package controllers_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

func replicaSet(name string, replicas int32) *appsv1.ReplicaSet {
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	set.Spec.Replicas = &replicas
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	set.Spec.Template = template(name, "image")
	return set
}

// pods lists the pods of an app that are not terminating.
func pods(t *testing.T, c client.Client, app string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := c.List(t.Context(), &list, client.InNamespace("default"), client.MatchingLabels{"app": app}); err != nil {
		t.Fatal(err)
	}
	var alive []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			alive = append(alive, pod)
		}
	}
	return alive
}

func TestSpeedOf500Pods(t *testing.T) {
	c := start(t, "replicaset-controller", "deployment-controller")
	set := replicaSet("web", 500)
	begin := time.Now()
	if err := c.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(set), set); err != nil {
			t.Fatal(err)
		}
		if n := set.Status.Replicas; n != 500 {
			return fmt.Sprintf("%d pods", n)
		}
		return ""
	})
	t.Logf("took %s", time.Since(begin))
	fmt.Println(len(pods(t, c, "web")))
}
