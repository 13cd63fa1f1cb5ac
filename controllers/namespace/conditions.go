package namespace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// findings is what one pass over a namespace's content saw.
type findings struct {
	discoveryErr error   // some groups could not be asked
	versionErrs  []error // discovery named impossible group versions
	contentErrs  []error // some content could not be listed or deleted

	remaining  map[schema.GroupVersionResource]int // how many objects are left
	finalizers map[string]int                      // how many of them wait for each finalizer

	// estimate is how many seconds the rest may take.
	estimate int64
}

func newFindings() *findings {
	return &findings{remaining: map[schema.GroupVersionResource]int{}, finalizers: map[string]int{}}
}

// clean tells that nothing is left and nothing is unknown.
func (f *findings) clean() bool {
	return f.err() == nil && len(f.remaining) == 0
}

func (f *findings) err() error {
	return errors.Join(append(append([]error{f.discoveryErr}, f.versionErrs...), f.contentErrs...)...)
}

// conditions are those that the API documents for a namespace being deleted,
// each true when it tells of a problem.
func (f *findings) conditions() []corev1.NamespaceCondition {
	conditions := []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: corev1.NamespaceDeletionGVParsingFailure, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		{Type: corev1.NamespaceDeletionContentFailure, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
		{Type: corev1.NamespaceContentRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"},
		{Type: corev1.NamespaceFinalizersRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"},
	}
	fail := func(i int, reason, message string) {
		conditions[i].Status, conditions[i].Reason, conditions[i].Message = corev1.ConditionTrue, reason, message
	}
	for i := range conditions {
		conditions[i].Status = corev1.ConditionFalse
	}
	if f.discoveryErr != nil {
		message := f.discoveryErr.Error()
		var failed *discovery.ErrGroupDiscoveryFailed
		if errors.As(f.discoveryErr, &failed) {
			message = fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(failed.Groups), f.discoveryErr)
		}
		fail(0, "DiscoveryFailed", message)
	}
	if len(f.versionErrs) > 0 {
		fail(1, "GroupVersionParsingFailed", errors.Join(f.versionErrs...).Error())
	}
	if len(f.contentErrs) > 0 {
		messages := make([]string, 0, len(f.contentErrs))
		for _, err := range f.contentErrs {
			messages = append(messages, err.Error())
		}
		slices.Sort(messages)
		fail(2, "ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(messages), strings.Join(messages, ", ")))
	}
	if len(f.remaining) > 0 {
		parts := make([]string, 0, len(f.remaining))
		for gvr, count := range f.remaining {
			parts = append(parts, fmt.Sprintf("%s.%s has %d resource instances", gvr.Resource, gvr.Group, count))
		}
		slices.Sort(parts)
		fail(3, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(parts, ", "))
	}
	if len(f.finalizers) > 0 {
		parts := make([]string, 0, len(f.finalizers))
		for _, name := range slices.Sorted(maps.Keys(f.finalizers)) {
			parts = append(parts, fmt.Sprintf("%s in %d resource instances", name, f.finalizers[name]))
		}
		fail(4, "SomeFinalizerRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(parts, ", "))
	}
	return conditions
}

// planStatus returns the status to write, nil when it says so already. Conditions
// of other writers are kept.
func planStatus(status corev1.NamespaceStatus, f *findings, now time.Time) *corev1.NamespaceStatus {
	planned := status.DeepCopy()
	planned.Phase = corev1.NamespaceTerminating
	changed := status.Phase != corev1.NamespaceTerminating
	for _, condition := range f.conditions() {
		condition.LastTransitionTime = metav1.NewTime(now)
		i := slices.IndexFunc(planned.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == condition.Type })
		if i < 0 {
			planned.Conditions = append(planned.Conditions, condition)
			changed = true
			continue
		}
		old := planned.Conditions[i]
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		if old != condition {
			planned.Conditions[i] = condition
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return planned
}
