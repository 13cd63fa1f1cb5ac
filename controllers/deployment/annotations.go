package deployment

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Annotations that kubectl rollout reads, and those by which a set remembers
// what its Deployment asked for when it was last scaled.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxReplicasAnnotation     = "deployment.kubernetes.io/max-replicas"
	rollbackAnnotation        = "deprecated.deployment.rollback.to"

	// maxHistoryLength bounds revision-history, in characters; the oldest
	// revisions are dropped first.
	maxHistoryLength = 2000
)

// isOwn tells whether an annotation belongs to one object and is not handed
// down from a Deployment to its sets.
func isOwn(name string) bool {
	switch name {
	case corev1.LastAppliedConfigAnnotation, revisionAnnotation, revisionHistoryAnnotation,
		desiredAnnotation, maxReplicasAnnotation, rollbackAnnotation:
		return true
	}
	return false
}

// planAnnotations returns what the annotations of the Deployment's newest set
// should be: the Deployment's own ones handed down, and at least revision.
// A set that becomes the newest again, by a rollback, keeps the revisions it
// had as its history.
func planAnnotations(d *appsv1.Deployment, before map[string]string, revision int64) map[string]string {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	for name, value := range d.Annotations {
		if !isOwn(name) {
			after[name] = value
		}
	}
	had, hadAny := before[revisionAnnotation]
	if number, err := strconv.ParseInt(had, 10, 64); hadAny && err == nil && number >= revision {
		return after
	}
	after[revisionAnnotation] = strconv.FormatInt(revision, 10)
	if hadAny {
		after[revisionHistoryAnnotation] = appendHistory(before[revisionHistoryAnnotation], had)
	}
	return after
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	revisions := append(strings.Split(history, ","), revision)
	for len(revisions) > 1 && len(strings.Join(revisions, ",")) > maxHistoryLength {
		revisions = revisions[1:]
	}
	return strings.Join(revisions, ",")
}

// sizeAnnotations adds what a set has to remember of the Deployment's size.
func sizeAnnotations(d *appsv1.Deployment, before map[string]string) map[string]string {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	after[desiredAnnotation] = strconv.Itoa(int(replicas(d)))
	after[maxReplicasAnnotation] = strconv.Itoa(int(replicas(d) + limitsOf(d).surge))
	return after
}

// revisionOf returns a set's revision; 0 where it has none.
func revisionOf(set *appsv1.ReplicaSet) int64 {
	return numberIn(set.Annotations, revisionAnnotation)
}

// numberIn returns the number in an annotation; 0 where it is missing or none.
func numberIn(annotations map[string]string, name string) int64 {
	number, err := strconv.ParseInt(annotations[name], 10, 64)
	if err != nil {
		return 0
	}
	return number
}
