package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	declared "k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	// maxResponders are the ten that a pod may name, and the one that is there
	// by default.
	maxResponders = 11
	maxPriority   = 100_000
	maxMessage    = 4000

	// silence is how long a responder may report nothing before another takes
	// over.
	silence = 20 * time.Minute
	// skew is how far the clock of whoever writes a time may be off ours.
	skew = 30 * time.Second
	// longest is the latest that an eviction may be expected to end: ten years.
	longest = 10 * 365 * 24 * time.Hour
)

type state = lifecyclev1alpha1.ResponderStateType

const (
	waiting = lifecyclev1alpha1.ResponderStateInactive
	active  = lifecyclev1alpha1.ResponderStateActive
)

var (
	// ends are the states that a responder does not leave.
	ends   = []state{lifecyclev1alpha1.ResponderStateCanceled, lifecyclev1alpha1.ResponderStateCompleted, lifecyclev1alpha1.ResponderStateInterrupted}
	states = []state{active, lifecyclev1alpha1.ResponderStateCanceled, lifecyclev1alpha1.ResponderStateCompleted, waiting, lifecyclev1alpha1.ResponderStateInterrupted}
)

// responders are those who evict, one after the other in the order of
// targetResponders, and what each reports in responders. Many write to these
// lists, so that each step is checked: the first responder becomes active; it
// ends when it reports that it has completed, or nothing for too long; then it
// is the next one's turn, until the eviction has ended.
type responders struct {
	now                   time.Time
	ended                 bool // the eviction
	targets, oldTargets   []lifecyclev1alpha1.TargetResponder
	statuses, oldStatuses []lifecyclev1alpha1.ResponderStatus
}

func targetName(t *lifecyclev1alpha1.TargetResponder) string { return t.Name }
func statusName(s *lifecyclev1alpha1.ResponderStatus) string { return s.Name }

// find is the entry with a name, or nil.
func find[T any](list []T, name string, of func(*T) string) *T {
	for i := range list {
		if of(&list[i]) == name {
			return &list[i]
		}
	}
	return nil
}

// names are those of a list in its order.
func names[T any](list []T, of func(*T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = of(&list[i])
	}
	return out
}

func (r *responders) checkTargets(e *validate.Errors, p *field.Path) {
	ok := len(r.targets) <= maxResponders
	if !ok {
		e.TooMany(p, len(r.targets), maxResponders)
	} else {
		ok = checkOnce(e, p, r.targets, targetName)
		for i := range r.targets {
			t := &r.targets[i]
			checkTargetResponder(e, p.Index(i), t, find(r.oldTargets, t.Name, targetName))
		}
	}
	if len(r.oldTargets) > 0 {
		if len(r.targets) != len(r.oldTargets) {
			e.Invalid(p, r.targets, "must preserve the same length and the same keys in the same order")
			return
		}
		if !slices.Equal(names(r.targets, targetName), names(r.oldTargets, targetName)) {
			e.Invalid(p, r.targets, "must preserve the same keys in the same order")
			return
		}
	}
	if ok {
		for i := range r.targets {
			r.checkStep(e, p.Index(i), i)
		}
	}
}

// checkTargetResponder checks an entry by itself; old is nil for a new one.
func checkTargetResponder(e *validate.Errors, p *field.Path, t, old *lifecyclev1alpha1.TargetResponder) {
	checkKey(e, p.Child("name"), t.Name)
	at := p.Child("priority")
	switch {
	case t.Priority == nil:
		e.Required(at, "")
	case old != nil && old.Priority != nil && *t.Priority != *old.Priority:
		e.Invalid(at, nil, "field cannot be modified once set")
	default:
		ctx := context.Background()
		e.Add(declared.Minimum(ctx, update, at, t.Priority, nil, 0))
		e.Add(declared.Maximum(ctx, update, at, t.Priority, nil, maxPriority))
	}
	validate.RequiredEnum(e, p.Child("state"), t.State, states...)
}

// checkStep checks that the state of a responder may follow the one before.
func (r *responders) checkStep(e *validate.Errors, p *field.Path, i int) {
	t, at := &r.targets[i], p.Child("state")
	if i >= len(r.statuses) || r.statuses[i].Name != t.Name {
		e.Invalid(p, *t, fmt.Sprintf("%q has to be tracked in status.responders first", t.Name))
		return
	}
	may, why := r.next(i)
	if !slices.Contains(may, t.State) {
		text := make([]string, len(may))
		for j, s := range may {
			text[j] = string(s)
		}
		e.Invalid(at, t.State, fmt.Sprintf("must be one of: %s, because %s", strings.Join(text, ", "), why))
	}
	s := &r.statuses[i]
	if slices.Contains(may, active) || s.StartTime == nil || s.CompletionTime != nil || r.ended {
		return
	}
	if last := ptr.Deref(s.HeartbeatTime, *s.StartTime); r.now.Before(last.Add(silence - skew)) {
		e.Forbidden(at, "must stay Active because the responder is in progress and it should report status.responders.heartbeatTime or status.responders.completionTime")
	}
}

// next gives the states that a responder may now be in, and the reason.
func (r *responders) next(i int) (may []state, why string) {
	const over = "the eviction request has finished processing"
	at := slices.IndexFunc(r.oldTargets, func(t lifecyclev1alpha1.TargetResponder) bool { return t.State == active })
	moves := at >= 0 && r.targets[at].State != active
	switch {
	case i < at, len(r.oldTargets) > 0 && at < 0 && r.ended:
		return []state{r.oldTargets[i].State}, "final state is immutable"
	case i == at && moves:
		return ends, "this responder must reach a final state"
	case i == at && r.ended:
		return ends, over
	case i == at:
		return []state{active}, "the eviction request stays active"
	case i == 0 && len(r.oldTargets) == 0, i == at+1 && moves:
		if r.ended {
			return []state{waiting}, over
		}
		return []state{active}, "this responder is next in line"
	}
	return []state{waiting}, "the previously active has not finished processing"
}

func (r *responders) checkStatuses(e *validate.Errors, p *field.Path) {
	if len(r.targets) != len(r.statuses) {
		e.Invalid(p, r.statuses, "must be the same length as status.targetResponders and contain the same keys in the same order")
		return
	}
	if !slices.Equal(names(r.targets, targetName), names(r.statuses, statusName)) {
		e.Invalid(p, r.statuses, "must contain the same keys in the same order as status.targetResponders")
		return
	}
	if len(r.statuses) > maxResponders {
		e.TooMany(p, len(r.statuses), maxResponders)
		return
	}
	if !checkOnce(e, p, r.statuses, statusName) {
		return
	}
	for i := range r.statuses {
		s := &r.statuses[i]
		old := find(r.oldStatuses, s.Name, statusName)
		if old != nil && r.targets[i].State != active {
			if !apiequality.Semantic.DeepEqual(s, old) {
				e.Invalid(p.Index(i), *s, apivalidation.FieldImmutableErrorMsg)
			}
			continue
		}
		checkKey(e, p.Index(i).Child("name"), s.Name)
		r.checkTimes(e, p.Index(i), s, ptr.Deref(old, lifecyclev1alpha1.ResponderStatus{}), r.targets[i].State)
		e.Add(declared.MaxLength(context.Background(), update, p.Index(i).Child("message"), s.Message, nil, maxMessage))
	}
}

// checkTimes checks the times that a responder reports.
func (r *responders) checkTimes(e *validate.Errors, p *field.Path, s *lifecyclev1alpha1.ResponderStatus, old lifecyclev1alpha1.ResponderStatus, is state) {
	start := p.Child("startTime")
	switch {
	case once(e, start, s.StartTime, old.StartTime):
	case s.StartTime == nil && is == active:
		e.Required(start, "is required for an active responder")
	case s.StartTime != nil && !s.StartTime.Equal(old.StartTime):
		r.checkPresent(e, start, s.StartTime)
	}

	beat := p.Child("heartbeatTime")
	switch {
	case s.HeartbeatTime == nil && old.HeartbeatTime != nil:
		e.Required(beat, "is required once set")
	case s.HeartbeatTime.Equal(old.HeartbeatTime):
	case s.StartTime != nil && s.HeartbeatTime.Before(old.HeartbeatTime):
		e.Invalid(beat, s.HeartbeatTime, "cannot be decreased")
	case follows(e, beat, s.HeartbeatTime, s.StartTime, start):
		r.checkPresent(e, beat, s.HeartbeatTime)
	}

	expected := p.Child("expectedCompletionTime")
	switch t := s.ExpectedCompletionTime; {
	case t == nil, t.Equal(old.ExpectedCompletionTime), !follows(e, expected, t, s.StartTime, start):
	case t.Time.Before(r.now.Add(-skew)):
		e.Invalid(expected, t, "cannot be set to the past time")
	case t.After(r.now.Add(longest)):
		e.Invalid(expected, t, "must complete within 10 years")
	}

	done := p.Child("completionTime")
	switch {
	case once(e, done, s.CompletionTime, old.CompletionTime), s.CompletionTime == nil, !follows(e, done, s.CompletionTime, s.StartTime, start):
	case !s.CompletionTime.Equal(old.CompletionTime):
		r.checkPresent(e, done, s.CompletionTime)
	}
}

// once reports a time that was set before and is another now.
func once(e *validate.Errors, p *field.Path, t, old *metav1.Time) bool {
	if old == nil || old.Equal(t) {
		return false
	}
	e.Add(declared.UpdatePointer(context.Background(), update, p, t, old, declared.NoModify, declared.NoUnset))
	return true
}

// follows reports a time that is not after the start.
func follows(e *validate.Errors, p *field.Path, t, start *metav1.Time, startPath *field.Path) bool {
	switch {
	case start == nil:
		e.Invalid(p, t, fmt.Sprintf("cannot be set before %s is set", startPath))
		return false
	case t.Before(start):
		e.Invalid(p, t, fmt.Sprintf("must occur after %s", startPath))
		return false
	}
	return true
}

// checkPresent reports a time that is not about now.
func (r *responders) checkPresent(e *validate.Errors, p *field.Path, t *metav1.Time) {
	if off := t.Sub(r.now).Abs(); off >= skew {
		e.Invalid(p, t, "must be set to the present time")
	}
}

// until is how a time to come is printed.
func until(t metav1.Time) string { return duration.HumanDuration(time.Until(t.Time)) }

// said is how a message is printed.
func said(message *string) string {
	if text := strings.TrimSpace(ptr.Deref(message, "")); text != "" {
		return text
	}
	return unset
}
