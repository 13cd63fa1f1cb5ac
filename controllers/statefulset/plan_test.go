package statefulset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newSet(replicas int32, changes ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "set"}}
	set.Spec.Replicas = &replicas
	set.Spec.ServiceName = "service"
	set.Spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
	set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(0))}
	for _, change := range changes {
		change(set)
	}
	return set
}

func parallel(set *appsv1.StatefulSet) {
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
}

func onDelete(set *appsv1.StatefulSet) {
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
}

func partition(at int32) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) { set.Spec.UpdateStrategy.RollingUpdate.Partition = &at }
}

func maxUnavailable(limit string) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) {
		set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = new(intstr.Parse(limit))
	}
}

func start(at int32) func(*appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) { set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: at} }
}

// newPods makes pods from words such as "0", "1:old" for one of the current
// template where others are of the update, "2!" for one that is not ready, "~3"
// for one that is being deleted and "x4" for one that has failed.
func newPods(words string) []*corev1.Pod {
	var pods []*corev1.Pod
	for word := range strings.FieldsSeq(words) {
		pod := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		word, notReady := strings.CutSuffix(word, "!")
		word, old := strings.CutSuffix(word, ":old")
		word, terminating := strings.CutPrefix(word, "~")
		word, failed := strings.CutPrefix(word, "x")
		pod.Name = "web-" + word
		pod.Labels = map[string]string{hashLabel: "update"}
		if old {
			pod.Labels[hashLabel] = "current"
		}
		if terminating {
			pod.DeletionTimestamp = &metav1.Time{Time: now}
		}
		if failed {
			pod.Status.Phase = corev1.PodFailed
		}
		if !notReady && !failed {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-9 * time.Second))}}
		}
		pods = append(pods, pod)
	}
	return pods
}

func viewOf(set *appsv1.StatefulSet, pods string) *view {
	return newView(set, metav1.OwnerReference{}, revision{"current", &set.Spec.Template}, revision{"update", &set.Spec.Template}, newPods(pods), now)
}

func TestPlanPods(t *testing.T) {
	minReady := func(set *appsv1.StatefulSet) { set.Spec.MinReadySeconds = 10 }
	tests := []struct {
		name           string
		set            *appsv1.StatefulSet
		pods           string
		create, remove string
	}{
		{"the first one", newSet(3), "", "web-0:update", ""},
		{"the second waits until the first is ready", newSet(3), "0!", "", ""},
		{"and then comes", newSet(3), "0", "web-1:update", ""},
		{"after it has been ready for a while", newSet(3, minReady), "0", "", ""},
		{"all at once", newSet(3, parallel), "", "web-0:update web-1:update web-2:update", ""},
		{"from another ordinal on", newSet(2, start(5)), "5", "web-6:update", ""},
		{"a gap is filled first", newSet(3), "0 2", "web-1:update", ""},
		{"a failed pod is replaced", newSet(3), "0 x1 2", "", "web-1"},
		{"others wait for one that is being deleted", newSet(3), "0 ~1", "", ""},
		{"all is well", newSet(3), "0 1 2", "", ""},
		{"the last goes first", newSet(1), "0 1 2", "", "web-2"},
		{"one at a time", newSet(1), "0 1 ~2", "", ""},
		{"not while a lower one is broken", newSet(1), "0 1! 2", "", "web-2"},
		{"the broken one itself may go", newSet(1), "0 1!", "", "web-1"},
		{"but not one after it that is broken too", newSet(1), "0 1! 2!", "", ""},
		{"all go at once", newSet(1, parallel), "0 1! 2", "", "web-2 web-1"},
		{"those below the first ordinal too", newSet(1, start(2)), "0 1 2", "", "web-1"},
		{"pods with other names are not counted", newSet(1), "0 01 x", "", ""},
		{"an update begins at the end", newSet(3), "0:old 1:old 2:old", "", "web-2"},
		{"and goes on once that is ready", newSet(3, parallel), "0:old 1:old 2!", "", ""},
		{"downwards", newSet(3), "0:old 1:old 2", "", "web-1"},
		{"two at a time", newSet(4, parallel, maxUnavailable("50%")), "0:old 1:old 2:old 3!", "", "web-2"},
		{"to the partition", newSet(3, partition(2)), "0:old 1:old 2", "", ""},
		{"below which the current template stays", newSet(3, partition(2)), "0:old", "web-1:current", ""},
		{"above which it does not", newSet(3, partition(2)), "0:old 1:old", "web-2:update", ""},
		{"by hand", newSet(3, onDelete), "0:old 1:old 2:old", "", ""},
		{"what is missing is of the update then", newSet(3, onDelete), "0:old 1:old", "web-2:update", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan := planPods(viewOf(test.set, test.pods))
			var create, remove []string
			for _, pod := range plan.create {
				create = append(create, pod.Name+":"+pod.Labels[hashLabel])
			}
			for _, pod := range plan.remove {
				remove = append(remove, pod.Name)
			}
			if got := strings.Join(create, " "); got != test.create {
				t.Errorf("creates %q, want %q", got, test.create)
			}
			if got := strings.Join(remove, " "); got != test.remove {
				t.Errorf("removes %q, want %q", got, test.remove)
			}
		})
	}
}

func TestPlanStatus(t *testing.T) {
	tests := []struct {
		name string
		set  *appsv1.StatefulSet
		pods string
		want string // replicas ready available current updated, the current revision
		wait time.Duration
	}{
		{"nothing yet", newSet(2), "", "0 0 0 0 0 current", 0},
		{"in the middle of an update", newSet(3), "0:old 1:old ~2:old", "3 3 3 2 0 current", 0},
		{"updated but not ready", newSet(2), "0 1!", "2 1 1 0 2 current", 0},
		{"done", newSet(2), "0 1", "2 2 2 2 2 update", 0},
		{"condemned pods count", newSet(1), "0 1", "2 2 2 0 2 current", 0},
		{"by hand nothing is ever done", newSet(2, onDelete), "0 1", "2 2 2 0 2 current", 0},
		{"available in a second", newSet(1, func(set *appsv1.StatefulSet) { set.Spec.MinReadySeconds = 10 }), "0", "1 1 0 1 1 update", time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, wait := planStatus(viewOf(test.set, test.pods))
			got := fmt.Sprintf("%d %d %d %d %d %s", s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.CurrentReplicas, s.UpdatedReplicas, s.CurrentRevision)
			if got != test.want || wait != test.wait {
				t.Errorf("got %q after %s, want %q after %s", got, wait, test.want, test.wait)
			}
		})
	}
}

func withClaim(set *appsv1.StatefulSet) {
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
}

func TestNewPodAndClaims(t *testing.T) {
	set := newSet(1, withClaim, func(set *appsv1.StatefulSet) {
		set.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "other"}}
	})
	pod := newPod(set, metav1.OwnerReference{}, &set.Spec.Template, "revision", 7)
	if pod.Name != "web-7" || pod.GenerateName != "" || pod.Spec.Hostname != "web-7" || pod.Spec.Subdomain != "service" {
		t.Errorf("got %+v", pod)
	}
	if got := fmt.Sprint(pod.Labels); got != "map[apps.kubernetes.io/pod-index:7 controller-revision-hash:revision statefulset.kubernetes.io/pod-name:web-7]" {
		t.Errorf("labels %s", got)
	}
	if v := pod.Spec.Volumes; len(v) != 2 || v[0].PersistentVolumeClaim.ClaimName != "data-web-7" || v[1].Name != "other" {
		t.Errorf("volumes %+v", v)
	}
	if claims := newClaims(set, 7); len(claims) != 1 || claims[0].Name != "data-web-7" || claims[0].Namespace != "default" || claims[0].Labels["app"] != "web" {
		t.Errorf("claims %+v", claims)
	}
}

func TestPlanOwners(t *testing.T) {
	keep, drop := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	other := metav1.OwnerReference{Kind: "Other", Name: "other", UID: "other"}
	ofSet := *metav1.NewControllerRef(newSet(1), kind)
	tests := []struct {
		name                string
		whenDeleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType
		condemned           bool
		before              []metav1.OwnerReference
		want                string
	}{
		{"kept always", keep, keep, true, nil, ""},
		{"kept but for a condemned pod, which this is not", keep, drop, false, nil, ""},
		{"goes with a condemned pod", keep, drop, true, nil, "Pod/web-0"},
		{"goes with the set", drop, keep, true, nil, "StatefulSet/web"},
		{"goes with the set until its pod is condemned", drop, drop, false, nil, "StatefulSet/web"},
		{"and then with the pod", drop, drop, true, []metav1.OwnerReference{ofSet}, "Pod/web-0"},
		{"owned already", drop, keep, false, []metav1.OwnerReference{ofSet}, "StatefulSet/web"},
		{"the policy was changed", keep, keep, false, []metav1.OwnerReference{ofSet}, ""},
		{"other owners stay", keep, keep, false, []metav1.OwnerReference{other}, "Other/other"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := newSet(1, func(set *appsv1.StatefulSet) {
				set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: test.whenDeleted, WhenScaled: test.scaled}
			})
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-0", UID: "pod"}}
			var got []string
			for _, ref := range planOwners(set, pod, test.condemned, test.before) {
				got = append(got, ref.Kind+"/"+ref.Name)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
