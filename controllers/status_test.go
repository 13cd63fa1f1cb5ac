package controllers_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestStatusOfWorkloadsIsMendedWhenAnotherWritesIt(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "default"}
	two, once := ptr.To[int32](2), template("job", "image")
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	tests := []struct {
		name   string
		object client.Object
		field  string
		want   int64
	}{
		{"a ReplicaSet's", &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Replicas: two, Selector: selector("rs"), Template: template("rs", "image")}}, "replicas", 2},
		{"a ReplicationController's", &corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Replicas: two, Selector: selector("rc").MatchLabels, Template: ptr.To(template("rc", "image"))}}, "replicas", 2},
		{"a Deployment's", &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: two, Selector: selector("deployment"), Template: template("deployment", "image")}}, "replicas", 2},
		{"a StatefulSet's", &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: two, PodManagementPolicy: appsv1.ParallelPodManagement, Selector: selector("set"), Template: template("set", "image")}}, "replicas", 2},
		{"a DaemonSet's, without a node", &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector("daemon"), Template: template("daemon", "image")}}, "desiredNumberScheduled", 0},
		{"a Job's", &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Parallelism: two, Template: once}}, "active", 2},
	}
	c := start(t, "replicaset-controller", "replicationcontroller-controller", "deployment-controller", "statefulset-controller", "daemonset-controller", "job-controller")
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.object.SetName(fmt.Sprintf("mended-%d", i))
			create(t, c, test.object)
			isMended := func() {
				t.Helper()
				eventually(t, func() string {
					get(t, c, test.object)
					content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(test.object)
					if err != nil {
						t.Fatal(err)
					}
					got, _, _ := unstructured.NestedInt64(content, "status", test.field)
					seen, _, _ := unstructured.NestedInt64(content, "status", "observedGeneration")
					if got != test.want || seen != test.object.GetGeneration() && test.field != "active" {
						return fmt.Sprintf("%s %d of generation %d, want %d", test.field, got, seen, test.want)
					}
					return ""
				})
			}
			isMended()
			patch := fmt.Appendf(nil, `{"status":{%q:9}}`, test.field)
			if err := c.Status().Patch(t.Context(), test.object, client.RawPatch(types.MergePatchType, patch)); err != nil {
				t.Fatal(err)
			}
			isMended()
		})
	}
}
