package controllers_test

import (
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestWorkloadsInCluster runs every kind of workload with the rights that the
// room has in a cluster, on a node that makes pods ready.
func TestWorkloadsInCluster(t *testing.T) {
	c := clustertest.New(t).Client()
	allowPods(t, c)

	daemons := newDaemonSet("daemons")
	create(t, c, daemons)
	set := newStatefulSet("web", 2)
	set.Spec.ServiceName = "web"
	create(t, c, set)
	job := newJob("work", 2, 2)
	create(t, c, job)
	nightly := newCronJob("nightly")
	nightly.Spec.Schedule = "0 0 1 1 *"
	create(t, c, nightly)

	daemonStatus(t, c, daemons, "1/1/1/1")
	statefulStatus(t, c, set, "2/2/2/2")
	eventually(t, func() string {
		get(t, c, job)
		if job.Status.Active != 2 || job.Status.Ready == nil || *job.Status.Ready != 2 {
			return fmt.Sprintf("job %+v", job.Status)
		}
		return ""
	})
	for _, pod := range podsOfJob(t, c, job) {
		if pod.Spec.NodeName == "" || pod.Labels[batchv1.ControllerUidLabel] != string(job.UID) {
			t.Errorf("pod %+v", pod)
		}
	}
	change(t, c, set, func() { set.Spec.Template.Spec.Containers[0].Image = "next" })
	hasImages(t, c, "web", "web-0:next web-1:next")
	statefulStatus(t, c, set, "2/2/2/2")
	for _, object := range []struct{ name, event string }{{"daemons", "Created pod: daemons-"}, {"web", "create Pod web-0 in StatefulSet web successful"}, {"work", "Created pod: work-"}} {
		hasEvent(t, c, object.name, corev1.EventTypeNormal, "SuccessfulCreate", object.event)
	}
	if err := c.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if left := podsOfJob(t, c, job); len(left) > 0 {
			return fmt.Sprintf("%d pods of the job are left", len(left))
		}
		return ""
	})
}
