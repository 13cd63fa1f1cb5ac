package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

func create(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

// change reads obj, changes it and writes it, until nobody was faster.
func change[T client.Object](t *testing.T, c client.Client, obj T, how func()) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, obj)
		how()
		err := c.Update(t.Context(), obj)
		if err != nil && !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

func get(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatal(err)
	}
}

// pods lists the pods of an app that have neither ended nor are terminating.
func pods(t *testing.T, c client.Client, app string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := c.List(t.Context(), &list, client.InNamespace("default"), client.MatchingLabels{"app": app}); err != nil {
		t.Fatal(err)
	}
	var alive []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed {
			alive = append(alive, pod)
		}
	}
	return alive
}

// hasStatus waits until a set's status says replicas/ready/available.
func hasStatus(t *testing.T, c client.Client, set *appsv1.ReplicaSet, want string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, set)
		s := set.Status
		got := fmt.Sprintf("%d/%d/%d", s.Replicas, s.ReadyReplicas, s.AvailableReplicas)
		if got != want || s.ObservedGeneration != set.Generation {
			return fmt.Sprintf("status of %s is %s, want %s", set.Name, got, want)
		}
		return ""
	})
}

// hasEvent waits for an event about an object.
func hasEvent(t *testing.T, c client.Client, name, kind, reason, message string) {
	t.Helper()
	eventually(t, func() string {
		var list corev1.EventList
		if err := c.List(t.Context(), &list, client.InNamespace("default")); err != nil {
			t.Fatal(err)
		}
		var seen []string
		for _, e := range list.Items {
			if e.InvolvedObject.Name != name {
				continue
			}
			if e.Type == kind && e.Reason == reason && strings.HasPrefix(e.Message, message) {
				return ""
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return fmt.Sprintf("no event %s %s %q about %s, but %q", kind, reason, message, name, seen)
	})
}

func TestReplicaSet(t *testing.T) {
	c := start(t, "replicaset-controller")

	t.Run("creates its pods, counts them and scales", func(t *testing.T) {
		set := replicaSet("scale", 3)
		create(t, c, set)
		hasStatus(t, c, set, "3/0/0")
		made := pods(t, c, "scale")
		if len(made) != 3 || !strings.HasPrefix(made[0].Name, "scale-") || !metav1.IsControlledBy(&made[0], set) {
			t.Errorf("got pods %+v", made)
		}
		hasEvent(t, c, "scale", "Normal", "SuccessfulCreate", "Created pod: "+made[0].Name)
		makeReady(t.Context(), c)
		hasStatus(t, c, set, "3/3/3")
		change(t, c, set, func() { set.Spec.Replicas = new(int32(20)) })
		hasStatus(t, c, set, "20/3/3")
		change(t, c, set, func() { set.Spec.Replicas = new(int32(2)) })
		hasStatus(t, c, set, "2/2/2") // those that are not ready went first
		hasEvent(t, c, "scale", "Normal", "SuccessfulDelete", "Deleted pod: scale-")
		change(t, c, set, func() { set.Spec.Replicas = new(int32(0)) })
		hasStatus(t, c, set, "0/0/0")
	})

	t.Run("replaces pods that are deleted or have failed", func(t *testing.T) {
		set := replicaSet("replace", 2)
		create(t, c, set)
		hasStatus(t, c, set, "2/0/0")
		both := pods(t, c, "replace")
		if err := c.Delete(t.Context(), &both[0]); err != nil {
			t.Fatal(err)
		}
		both[1].Status.Phase = corev1.PodFailed
		if err := c.Status().Update(t.Context(), &both[1]); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			now := pods(t, c, "replace")
			for _, pod := range now {
				if pod.Name == both[0].Name || pod.Name == both[1].Name {
					return pod.Name + " is still there"
				}
			}
			if len(now) != 2 {
				return fmt.Sprintf("%d pods", len(now))
			}
			return ""
		})
		hasStatus(t, c, set, "2/0/0")
	})

	t.Run("has a true status however fast pods come and go", func(t *testing.T) {
		set := replicaSet("flicker", 2)
		create(t, c, set)
		for range 50 {
			hasStatus(t, c, set, "2/0/0")
			if err := c.Delete(t.Context(), &pods(t, c, "flicker")[0]); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string {
				if now := len(pods(t, c, "flicker")); now != 2 {
					return fmt.Sprintf("%d pods", now)
				}
				return ""
			})
		}
		hasStatus(t, c, set, "2/0/0")
	})

	t.Run("adopts a pod that matches and releases one that does not", func(t *testing.T) {
		orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "adopt"}}}
		orphan.Spec = template("adopt", "image").Spec
		create(t, c, orphan)
		set := replicaSet("adopt", 2)
		// A controller that has not heard of the orphan yet would create two
		// pods, and one of three is too many: it can create none at first.
		set.Spec.Template.Spec.ServiceAccountName = "adopter"
		create(t, c, set)
		eventually(t, func() string {
			if get(t, c, orphan); !metav1.IsControlledBy(orphan, set) {
				return "the orphan was not adopted"
			}
			return ""
		})
		create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "adopter"}})
		hasStatus(t, c, set, "2/0/0")
		if n := len(pods(t, c, "adopt")); n != 2 {
			t.Errorf("%d pods, want the orphan and another", n)
		}
		change(t, c, orphan, func() { orphan.Labels["app"] = "other" })
		eventually(t, func() string {
			get(t, c, orphan)
			if len(orphan.OwnerReferences) > 0 {
				return "the pod was not released"
			}
			if n := len(pods(t, c, "adopt")); n != 2 {
				return fmt.Sprintf("%d pods", n)
			}
			return ""
		})
		change(t, c, orphan, func() { orphan.Labels["app"] = "adopt" })
		eventually(t, func() string { // adopted again, one of three is too many
			if n := len(pods(t, c, "adopt")); n != 2 {
				return fmt.Sprintf("%d pods", n)
			}
			return ""
		})
	})

	t.Run("says when pods cannot be created, and recovers", func(t *testing.T) {
		set := replicaSet("refused", 2)
		set.Spec.Template.Spec.ServiceAccountName = "missing"
		create(t, c, set)
		eventually(t, func() string {
			get(t, c, set)
			for _, condition := range set.Status.Conditions {
				if condition.Type == appsv1.ReplicaSetReplicaFailure && condition.Reason == "FailedCreate" && condition.Status == corev1.ConditionTrue {
					return ""
				}
			}
			return fmt.Sprintf("no failure in %+v", set.Status)
		})
		hasEvent(t, c, "refused", "Warning", "FailedCreate", `Error creating: pods "refused-" is forbidden: `)
		create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "missing"}})
		hasStatus(t, c, set, "2/0/0")
		eventually(t, func() string {
			get(t, c, set)
			if len(set.Status.Conditions) > 0 {
				return fmt.Sprintf("conditions %+v", set.Status.Conditions)
			}
			return ""
		})
	})

	t.Run("creates five hundred pods, and no more", func(t *testing.T) {
		set := replicaSet("many", 500)
		create(t, c, set)
		hasStatus(t, c, set, "500/0/0")
		if n := len(pods(t, c, "many")); n != 500 {
			t.Errorf("%d pods", n)
		}
	})
}

func TestReplicationController(t *testing.T) {
	c := start(t, "replicationcontroller-controller")
	rc := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "classic"}}
	rc.Spec.Replicas = new(int32(2))
	rc.Spec.Selector = map[string]string{"app": "classic"}
	rc.Spec.Template = new(template("classic", "image"))
	create(t, c, rc)
	runPods(t, c)
	status := func(want int32) func() string {
		return func() string {
			get(t, c, rc)
			if s := rc.Status; s.Replicas != want || s.AvailableReplicas != want || s.FullyLabeledReplicas != want || s.ObservedGeneration != rc.Generation {
				return fmt.Sprintf("status %+v", s)
			}
			return ""
		}
	}
	eventually(t, status(2))
	if made := pods(t, c, "classic"); made[0].OwnerReferences[0].Kind != "ReplicationController" {
		t.Errorf("owned by %+v", made[0].OwnerReferences)
	}
	hasEvent(t, c, "classic", "Normal", "SuccessfulCreate", "Created pod: classic-")
	change(t, c, rc, func() { rc.Spec.Replicas = new(int32(5)) })
	eventually(t, status(5))
	change(t, c, rc, func() { rc.Spec.Replicas = new(int32(1)) })
	eventually(t, status(1))
}
