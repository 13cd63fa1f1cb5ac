package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func deployment(name string, replicas int32) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	d.Spec.Replicas = &replicas
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	d.Spec.Template = template(name, "v1")
	return d
}

// sets lists a Deployment's sets by revision.
func sets(t *testing.T, c client.Client, d *appsv1.Deployment) []appsv1.ReplicaSet {
	t.Helper()
	var list appsv1.ReplicaSetList
	if err := c.List(t.Context(), &list, client.InNamespace(d.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b appsv1.ReplicaSet) int {
		return strings.Compare(revision(&a), revision(&b)) // no test comes to revision 10
	})
	return list.Items
}

func revision(obj client.Object) string {
	return obj.GetAnnotations()["deployment.kubernetes.io/revision"]
}

func progress(d *appsv1.Deployment) appsv1.DeploymentCondition {
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition
		}
	}
	return appsv1.DeploymentCondition{}
}

// isComplete waits until a rollout is complete, as kubectl rollout status does.
func isComplete(t *testing.T, c client.Client, d *appsv1.Deployment) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, d)
		s, want := d.Status, *d.Spec.Replicas
		if s.ObservedGeneration != d.Generation || s.Replicas != want || s.UpdatedReplicas != want || s.ReadyReplicas != want ||
			s.AvailableReplicas != want || s.UnavailableReplicas != 0 || progress(d).Reason != "NewReplicaSetAvailable" {
			return fmt.Sprintf("%s is not complete: %+v", d.Name, s)
		}
		return ""
	})
}

func setImage(t *testing.T, c client.Client, d *appsv1.Deployment, image string) {
	t.Helper()
	change(t, c, d, func() { d.Spec.Template.Spec.Containers[0].Image = image })
}

func TestDeploymentRollsOut(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	runPods(t, c)
	d := deployment("web", 4)
	d.Spec.RevisionHistoryLimit = new(int32(2))
	create(t, c, d)
	isComplete(t, c, d)
	first := sets(t, c, d)[0]
	if revision(d) != "1" || revision(&first) != "1" || first.Name != "web-"+first.Labels["pod-template-hash"] {
		t.Errorf("revision %q, first set %+v", revision(d), first.ObjectMeta)
	}
	hasEvent(t, c, "web", "Normal", "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to 4", first.Name))

	setImage(t, c, d, "v2")
	isComplete(t, c, d)
	second := sets(t, c, d)[1]
	if revision(d) != "2" || *second.Spec.Replicas != 4 {
		t.Errorf("revision %q, second set %+v", revision(d), second)
	}
	hasEvent(t, c, "web", "Normal", "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to 1", second.Name))
	hasEvent(t, c, "web", "Normal", "ScalingReplicaSet", fmt.Sprintf("Scaled down replica set %s from 4 to 3", first.Name))
	for _, pod := range pods(t, c, "web") {
		if pod.Spec.Containers[0].Image != "v2" {
			t.Errorf("pod %s is of image %s", pod.Name, pod.Spec.Containers[0].Image)
		}
	}

	setImage(t, c, d, "v1") // what kubectl rollout undo does
	isComplete(t, c, d)
	all := sets(t, c, d)
	if last := all[len(all)-1]; len(all) != 2 || last.Name != first.Name || revision(&last) != "3" || revision(d) != "3" ||
		last.Annotations["deployment.kubernetes.io/revision-history"] != "1" {
		t.Errorf("after the rollback: %d sets, last %+v", len(all), last.ObjectMeta)
	}

	for _, image := range []string{"v3", "v4", "v5"} {
		setImage(t, c, d, image)
		isComplete(t, c, d)
	}
	eventually(t, func() string {
		if all := sets(t, c, d); len(all) != 3 || revision(&all[0]) != "4" || revision(&all[2]) != "6" {
			return fmt.Sprintf("%d sets, the oldest of revision %s", len(all), revision(&all[0]))
		}
		return ""
	})

	change(t, c, d, func() { d.Spec.Replicas = new(int32(7)) })
	isComplete(t, c, d)
	all = sets(t, c, d)
	if last := all[len(all)-1]; revision(d) != "6" || last.Annotations["deployment.kubernetes.io/desired-replicas"] != "7" ||
		last.Annotations["deployment.kubernetes.io/max-replicas"] != "9" {
		t.Errorf("after scaling: revision %s, annotations %v", revision(d), last.Annotations)
	}
	if s := d.Status; s.TerminatingReplicas == nil || *s.TerminatingReplicas != 0 {
		t.Errorf("terminating replicas are %v", s.TerminatingReplicas)
	}
}

func TestDeploymentKeepsOldPodsUntilNewOnesAreReady(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	d := deployment("slow", 10)
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromInt32(3)), MaxUnavailable: new(intstr.FromInt32(2))}
	create(t, c, d)
	sizes := func(want ...int32) {
		t.Helper()
		eventually(t, func() string {
			get(t, c, d)
			var got []int32
			for _, set := range sets(t, c, d) {
				got = append(got, *set.Spec.Replicas)
				if set.Status.Replicas != *set.Spec.Replicas || set.Status.ObservedGeneration != set.Generation {
					return "sets are not yet of their size"
				}
			}
			if !slices.Equal(got, want) || d.Status.ObservedGeneration != d.Generation {
				return fmt.Sprintf("sizes are %v, want %v", got, want)
			}
			return ""
		})
	}
	sizes(10)
	makeReady(t.Context(), c)
	isComplete(t, c, d)

	setImage(t, c, d, "v2")
	sizes(8, 5) // as many as may be missing are gone, and as many as may be above are there
	change(t, c, d, func() { d.Spec.Replicas = new(int32(15)) })
	sizes(11, 7) // in proportion, though none of the new ones is ready
	runPods(t, c)
	isComplete(t, c, d)
}

func missing(got, want int32) string {
	if got != want {
		return fmt.Sprintf("%d of %d", got, want)
	}
	return ""
}

func TestDeploymentPaused(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	runPods(t, c)
	d := deployment("paused", 2)
	create(t, c, d)
	isComplete(t, c, d)
	change(t, c, d, func() { d.Spec.Paused = true })
	setImage(t, c, d, "v2")
	reason := func(want string) {
		t.Helper()
		eventually(t, func() string {
			get(t, c, d)
			if got := progress(d).Reason; got != want || d.Status.ObservedGeneration != d.Generation {
				return fmt.Sprintf("progress is %s, want %s", got, want)
			}
			return ""
		})
	}
	reason("DeploymentPaused")
	change(t, c, d, func() { d.Spec.Replicas = new(int32(3)) })
	eventually(t, func() string { get(t, c, d); return missing(d.Status.AvailableReplicas, 3) })
	if all := sets(t, c, d); len(all) != 1 || *all[0].Spec.Replicas != 3 {
		t.Errorf("while paused there are %d sets", len(all))
	}
	change(t, c, d, func() { d.Spec.Paused = false })
	isComplete(t, c, d)
	if all := sets(t, c, d); len(all) != 2 || revision(d) != "2" {
		t.Errorf("after resuming there are %d sets, revision %s", len(all), revision(d))
	}
}

func TestDeploymentRecreate(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	runPods(t, c)
	d := deployment("anew", 3)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	create(t, c, d)
	isComplete(t, c, d)

	// A pod that takes its time to end holds the new ones back.
	held := pods(t, c, "anew")[0]
	change(t, c, &held, func() { held.Finalizers = []string{"example.com/hold"} })
	setImage(t, c, d, "v2")
	eventually(t, func() string {
		get(t, c, d)
		return missing(int32(len(pods(t, c, "anew"))), 0) + missing(d.Status.Replicas, 0)
	})
	if all := sets(t, c, d); len(all) != 1 {
		t.Errorf("a new set is there before the old pods have ended: %d sets", len(all))
	}
	change(t, c, &held, func() { held.Finalizers = nil })
	isComplete(t, c, d)
	change(t, c, d, func() { d.Spec.Replicas = new(int32(1)) })
	isComplete(t, c, d)
}

func TestDeploymentMissesItsDeadline(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	d := deployment("stuck", 1)
	d.Spec.ProgressDeadlineSeconds = new(int32(1))
	create(t, c, d)
	eventually(t, func() string {
		get(t, c, d)
		if p := progress(d); p.Status != corev1.ConditionFalse || p.Reason != "ProgressDeadlineExceeded" {
			return fmt.Sprintf("progress is %+v", p)
		}
		return ""
	})
	makeReady(t.Context(), c)
	isComplete(t, c, d)
}

func TestDeploymentAdoptsASet(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	runPods(t, c)
	orphan := replicaSet("kept", 2)
	orphan.Name = "kept-before"
	orphan.Spec.Template = template("kept", "v1")
	orphan.Labels = map[string]string{"app": "kept"}
	create(t, c, orphan)
	d := deployment("kept", 2)
	create(t, c, d)
	isComplete(t, c, d)
	if all := sets(t, c, d); len(all) != 1 || all[0].UID != orphan.UID || !metav1.IsControlledBy(&all[0], d) || revision(d) != "1" {
		t.Errorf("the set was not adopted: %d sets, revision %s", len(all), revision(d))
	}
	change(t, c, orphan, func() { orphan.Labels = map[string]string{"app": "other"} })
	isComplete(t, c, d)
	eventually(t, func() string {
		get(t, c, orphan)
		if len(orphan.OwnerReferences) > 0 {
			return "the set was not released"
		}
		return ""
	})
}

func TestDeploymentTriesAnotherHashWhenANameIsTaken(t *testing.T) {
	c := start(t, "deployment-controller", "replicaset-controller")
	runPods(t, c)
	first := deployment("taken", 1)
	create(t, c, first)
	isComplete(t, c, first)
	name := sets(t, c, first)[0].Name
	if err := c.Delete(t.Context(), first, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	// Its set is left, as no garbage collector runs here, with an owner that
	// is not the next Deployment of that name.
	second := deployment("taken", 1)
	create(t, c, second)
	eventually(t, func() string {
		get(t, c, second)
		if n := second.Status.CollisionCount; n == nil || *n != 1 {
			return "no collision was counted"
		}
		return ""
	})
	isComplete(t, c, second)
	for _, set := range sets(t, c, second) {
		if metav1.IsControlledBy(&set, second) && set.Name == name {
			t.Errorf("set %s has two owners", name)
		}
	}
}
