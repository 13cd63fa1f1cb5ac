package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newStatefulSet(name string, replicas int32) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	set.Spec.Replicas = &replicas
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	set.Spec.Template = template(name, "image")
	return set
}

// statefulStatus waits for replicas/ready/current/updated.
func statefulStatus(t *testing.T, c client.Client, set *appsv1.StatefulSet, want string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, set)
		s := set.Status
		got := fmt.Sprintf("%d/%d/%d/%d", s.Replicas, s.ReadyReplicas, s.CurrentReplicas, s.UpdatedReplicas)
		if got != want || s.ObservedGeneration != set.Generation {
			return fmt.Sprintf("status of %s is %s, want %s", set.Name, got, want)
		}
		return ""
	})
}

// images are the names and images of an app's pods.
func images(t *testing.T, c client.Client, app string) string {
	t.Helper()
	var found []string
	for _, pod := range pods(t, c, app) {
		found = append(found, pod.Name+":"+pod.Spec.Containers[0].Image)
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

func hasImages(t *testing.T, c client.Client, app, want string) {
	t.Helper()
	eventually(t, func() string {
		if got := images(t, c, app); got != want {
			return fmt.Sprintf("pods are %q, want %q", got, want)
		}
		return ""
	})
}

func TestStatefulSet(t *testing.T) {
	c := start(t, "statefulset-controller", "garbage-collector-controller", "persistentvolumeclaim-protection-controller")

	t.Run("starts its pods in order, each when the one before is ready", func(t *testing.T) {
		set := newStatefulSet("order", 2)
		create(t, c, set)
		statefulStatus(t, c, set, "1/0/1/1")
		hasImages(t, c, "order", "order-0:image")
		hasEvent(t, c, "order", "Normal", "SuccessfulCreate", "create Pod order-0 in StatefulSet order successful")
		makeReady(t.Context(), c)
		statefulStatus(t, c, set, "2/1/2/2")
		makeReady(t.Context(), c)
		statefulStatus(t, c, set, "2/2/2/2")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "order-1"}}
		get(t, c, pod)
		if pod.Spec.Hostname != "order-1" || pod.Labels[appsv1.PodIndexLabel] != "1" || pod.Labels[appsv1.StatefulSetRevisionLabel] != set.Status.CurrentRevision {
			t.Errorf("pod %+v", pod)
		}
	})

	t.Run("starts all at once when that is allowed", func(t *testing.T) {
		set := newStatefulSet("parallel", 3)
		set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 4}
		create(t, c, set)
		statefulStatus(t, c, set, "3/0/3/3")
		hasImages(t, c, "parallel", "parallel-4:image parallel-5:image parallel-6:image")
		change(t, c, set, func() { set.Spec.Replicas = new(int32(1)) })
		hasImages(t, c, "parallel", "parallel-4:image")
	})

	runPods(t, c)

	t.Run("updates down to the partition, and then all", func(t *testing.T) {
		set := newStatefulSet("update", 3)
		create(t, c, set)
		statefulStatus(t, c, set, "3/3/3/3")
		first := set.Status.CurrentRevision
		change(t, c, set, func() {
			set.Spec.Template.Spec.Containers[0].Image = "next"
			set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}
		})
		hasImages(t, c, "update", "update-0:image update-1:image update-2:next")
		statefulStatus(t, c, set, "3/3/2/1")
		if set.Status.CurrentRevision != first || set.Status.UpdateRevision == first {
			t.Errorf("revisions %s and %s, first %s", set.Status.CurrentRevision, set.Status.UpdateRevision, first)
		}
		lowest := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "update-0"}}
		if err := c.Delete(t.Context(), lowest); err != nil {
			t.Fatal(err)
		}
		hasImages(t, c, "update", "update-0:image update-1:image update-2:next")
		change(t, c, set, func() { set.Spec.UpdateStrategy.RollingUpdate.Partition = new(int32(0)) })
		hasImages(t, c, "update", "update-0:next update-1:next update-2:next")
		statefulStatus(t, c, set, "3/3/3/3")
		if set.Status.CurrentRevision != set.Status.UpdateRevision {
			t.Errorf("revisions %s and %s", set.Status.CurrentRevision, set.Status.UpdateRevision)
		}
	})

	t.Run("replaces a failed pod by one of its name", func(t *testing.T) {
		set := newStatefulSet("failed", 1)
		create(t, c, set)
		statefulStatus(t, c, set, "1/1/1/1")
		pod := pods(t, c, "failed")[0]
		uid := pod.UID
		eventually(t, func() string {
			get(t, c, &pod)
			pod.Status.Phase = corev1.PodFailed
			if err := c.Status().Update(t.Context(), &pod); err != nil {
				return err.Error()
			}
			return ""
		})
		hasEvent(t, c, "failed", "Warning", "RecreatingFailedPod", "StatefulSet default/failed is recreating failed Pod failed-0")
		hasImages(t, c, "failed", "failed-0:image")
		if pods(t, c, "failed")[0].UID == uid {
			t.Error("the pod is the same")
		}
	})

	t.Run("gives each pod a claim, which goes or stays as the policy says", func(t *testing.T) {
		set := newStatefulSet("store", 2)
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}}
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
		}
		create(t, c, set)
		statefulStatus(t, c, set, "2/2/2/2")
		hasEvent(t, c, "store", "Normal", "SuccessfulCreate", "create Claim data-store-1 Pod store-1 in StatefulSet store success")
		claims := func(want string) {
			t.Helper()
			eventually(t, func() string {
				var list corev1.PersistentVolumeClaimList
				if err := c.List(t.Context(), &list, client.MatchingLabels{"app": "store"}); err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, claim := range list.Items {
					if claim.DeletionTimestamp == nil {
						names = append(names, claim.Name)
					}
				}
				if got := strings.Join(names, " "); got != want {
					return fmt.Sprintf("claims are %q, want %q", got, want)
				}
				return ""
			})
		}
		claims("data-store-0 data-store-1")
		change(t, c, set, func() { set.Spec.Replicas = new(int32(1)) })
		hasImages(t, c, "store", "store-0:image")
		claims("data-store-0")
		if err := c.Delete(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		hasImages(t, c, "store", "")
		claims("data-store-0")
	})
}
