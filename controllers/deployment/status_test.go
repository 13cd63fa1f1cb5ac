package deployment

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func progressing(status corev1.ConditionStatus, reason string, ago time.Duration) []appsv1.DeploymentCondition {
	return []appsv1.DeploymentCondition{newCondition(appsv1.DeploymentProgressing, status, reason, "", epoch.Add(-ago))}
}

// showConditions prints conditions as type=status(reason).
func showConditions(conditions []appsv1.DeploymentCondition) string {
	var parts []string
	for _, c := range conditions {
		parts = append(parts, fmt.Sprintf("%s=%s(%s)", c.Type, c.Status, c.Reason))
	}
	return strings.Join(parts, " ")
}

func TestPlanStatusCounts(t *testing.T) {
	newest, old := setOf(2, 3, 2), setOf(1, 8, 8)
	newest.Status.TerminatingReplicas, old.Status.TerminatingReplicas = ptr.To[int32](1), ptr.To[int32](2)
	newest.Status.ReadyReplicas = 3
	d := deploymentOf(10, "3", "2")
	d.Generation = 4
	got := planStatus(&scope{d: d, newest: newest, old: []*appsv1.ReplicaSet{old}}, epoch)
	got.Conditions = nil
	want := appsv1.DeploymentStatus{
		ObservedGeneration: 4, Replicas: 11, UpdatedReplicas: 3, ReadyReplicas: 11, AvailableReplicas: 10,
		UnavailableReplicas: 1, TerminatingReplicas: ptr.To[int32](3),
	}
	if !apiequality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPlanStatusConditions(t *testing.T) {
	failing := setOf(2, 3, 0)
	failing.Status.Conditions = []appsv1.ReplicaSetCondition{{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "no",
	}}
	complete := appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3}
	started := appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3}
	tests := []struct {
		name       string
		before     appsv1.DeploymentStatus
		conditions []appsv1.DeploymentCondition
		deadline   int32
		newest     *appsv1.ReplicaSet
		old        []*appsv1.ReplicaSet
		paused     bool
		want       string
	}{
		{
			name: "a set that is just created has no progress yet", conditions: progressing("True", reasonNew, 0), deadline: 600,
			newest: setOf(1, 0, 0),
			want:   "Progressing=True(NewReplicaSetCreated) Available=False(MinimumReplicasUnavailable)",
		},
		{
			name: "new pods are progress", conditions: progressing("True", reasonNew, 0), deadline: 600,
			newest: setOf(1, 3, 0),
			want:   "Available=False(MinimumReplicasUnavailable) Progressing=True(ReplicaSetUpdated)",
		},
		{
			name: "all pods available is the end", before: started, conditions: progressing("True", reasonUpdated, 0), deadline: 600,
			newest: setOf(1, 3, 3),
			want:   "Available=True(MinimumReplicasAvailable) Progressing=True(NewReplicaSetAvailable)",
		},
		{
			name: "one missing of three is available enough", before: started, conditions: progressing("True", reasonUpdated, 0), deadline: 600,
			newest: setOf(1, 3, 2),
			want:   "Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)",
		},
		{
			name: "no progress within the deadline changes nothing", before: started, conditions: progressing("True", reasonUpdated, 599*time.Second), deadline: 600,
			newest: setOf(1, 3, 0),
			want:   "Progressing=True(ReplicaSetUpdated) Available=False(MinimumReplicasUnavailable)",
		},
		{
			name: "no progress beyond the deadline is a failure", before: started, conditions: progressing("True", reasonUpdated, 601*time.Second), deadline: 600,
			newest: setOf(1, 3, 0),
			want:   "Available=False(MinimumReplicasUnavailable) Progressing=False(ProgressDeadlineExceeded)",
		},
		{
			name: "progress after the deadline heals", before: started, conditions: progressing("False", reasonTimedOut, time.Hour), deadline: 600,
			newest: setOf(1, 3, 2),
			want:   "Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)",
		},
		{
			name: "a failed rollout stays failed", before: started, conditions: progressing("False", reasonTimedOut, time.Hour), deadline: 600,
			newest: setOf(1, 3, 0),
			want:   "Progressing=False(ProgressDeadlineExceeded) Available=False(MinimumReplicasUnavailable)",
		},
		{
			name: "a complete rollout stays complete when pods break later", before: complete, conditions: progressing("True", reasonAvailable, time.Hour), deadline: 600,
			newest: setOf(1, 3, 0),
			want:   "Progressing=True(NewReplicaSetAvailable) Available=False(MinimumReplicasUnavailable)",
		},
		{
			name: "old pods that end are progress", before: appsv1.DeploymentStatus{Replicas: 4, UpdatedReplicas: 1}, conditions: progressing("True", reasonNew, 0), deadline: 600,
			newest: setOf(2, 1, 0), old: []*appsv1.ReplicaSet{setOf(1, 2, 0)},
			want: "Available=False(MinimumReplicasUnavailable) Progressing=True(ReplicaSetUpdated)",
		},
		{
			name: "old pods that are left are not the end", before: appsv1.DeploymentStatus{Replicas: 4, UpdatedReplicas: 3, ReadyReplicas: 4, AvailableReplicas: 4}, conditions: progressing("True", reasonUpdated, 0), deadline: 600,
			newest: setOf(2, 3, 3), old: []*appsv1.ReplicaSet{setOf(1, 1, 1)},
			want: "Progressing=True(ReplicaSetUpdated) Available=True(MinimumReplicasAvailable)",
		},
		{
			name: "without a deadline there is no Progressing", conditions: progressing("True", reasonNew, 0), deadline: math.MaxInt32,
			newest: setOf(1, 3, 3),
			want:   "Available=True(MinimumReplicasAvailable)",
		},
		{
			name: "pods that cannot be created are a failure", conditions: progressing("True", reasonNew, 0), deadline: 600, before: started,
			newest: failing,
			want:   "Progressing=True(NewReplicaSetCreated) Available=False(MinimumReplicasUnavailable) ReplicaFailure=True(FailedCreate)",
		},
		{
			name: "while paused nothing is said of progress", conditions: progressing("Unknown", reasonPaused, time.Hour), deadline: 600, paused: true,
			newest: setOf(1, 3, 3),
			want:   "Progressing=Unknown(DeploymentPaused) Available=True(MinimumReplicasAvailable)",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := deploymentOf(3, "1", "1")
			d.Spec.ProgressDeadlineSeconds = &test.deadline
			d.Status = test.before
			d.Status.Conditions = test.conditions
			s := &scope{d: d, before: d.Status, newest: test.newest, old: test.old, rollingOut: !test.paused}
			if got := showConditions(planStatus(s, epoch).Conditions); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPlanPaused(t *testing.T) {
	tests := []struct {
		name   string
		paused bool
		before []appsv1.DeploymentCondition
		want   string
	}{
		{"pausing is noted", true, progressing("True", reasonUpdated, 0), "Progressing=Unknown(DeploymentPaused)"},
		{"a Deployment created paused too", true, nil, "Progressing=Unknown(DeploymentPaused)"},
		{"once", true, progressing("Unknown", reasonPaused, time.Hour), "Progressing=Unknown(DeploymentPaused)"},
		{"resuming is noted", false, progressing("Unknown", reasonPaused, time.Hour), "Progressing=Unknown(DeploymentResumed)"},
		{"a rollout that was never paused is left alone", false, progressing("True", reasonUpdated, 0), "Progressing=True(ReplicaSetUpdated)"},
		{"a failed rollout stays failed", true, progressing("False", reasonTimedOut, 0), "Progressing=False(ProgressDeadlineExceeded)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := deploymentOf(3, "1", "1")
			d.Spec.Paused = test.paused
			d.Status.Conditions = test.before
			if got := showConditions(planPaused(d, epoch)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestSetConditionKeepsTimes(t *testing.T) {
	before := progressing("True", reasonNew, time.Hour)
	same := setCondition(before, newCondition(appsv1.DeploymentProgressing, "True", reasonNew, "other words", epoch))
	if !same[0].LastUpdateTime.Equal(&before[0].LastUpdateTime) {
		t.Error("the same status and reason must stay as it is")
	}
	moved := setCondition(before, newCondition(appsv1.DeploymentProgressing, "True", reasonUpdated, "", epoch))
	if at := metav1.NewTime(epoch); !moved[0].LastUpdateTime.Equal(&at) || !moved[0].LastTransitionTime.Equal(&before[0].LastTransitionTime) {
		t.Errorf("another reason is an update and no transition: %+v", moved[0])
	}
	turned := setCondition(before, newCondition(appsv1.DeploymentProgressing, "False", reasonTimedOut, "", epoch))
	if at := metav1.NewTime(epoch); !turned[0].LastTransitionTime.Equal(&at) {
		t.Errorf("another status is a transition: %+v", turned[0])
	}
}

func TestUntilDeadline(t *testing.T) {
	tests := []struct {
		name       string
		conditions []appsv1.DeploymentCondition
		want       time.Duration
	}{
		{"the rest of the deadline and a second", progressing("True", reasonUpdated, 10*time.Second), 591 * time.Second},
		{"a deadline that has passed is looked at soon", progressing("True", reasonUpdated, time.Hour), time.Second},
		{"a failed rollout waits for nothing", progressing("False", reasonTimedOut, 0), 0},
		{"neither does a complete one", progressing("True", reasonAvailable, 0), 0},
		{"nor one that has not begun", nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := deploymentOf(3, "1", "1")
			d.Status.Conditions = test.conditions
			if got := untilDeadline(&scope{d: d, rollingOut: true}, epoch); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
