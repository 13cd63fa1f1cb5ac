package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/lifecycle"
)

const uid = "a2ee91f4-e13c-44db-9edc-4240e7383ab9"

type (
	request = lifecyclev1alpha1.EvictionRequest
	status  = lifecyclev1alpha1.EvictionStatus
	state   = lifecyclev1alpha1.ResponderStateType
)

const (
	inactive    = lifecyclev1alpha1.ResponderStateInactive
	active      = lifecyclev1alpha1.ResponderStateActive
	completed   = lifecyclev1alpha1.ResponderStateCompleted
	canceled    = lifecyclev1alpha1.ResponderStateCanceled
	interrupted = lifecyclev1alpha1.ResponderStateInterrupted
)

func ask(change ...func(*request)) *request {
	r := &request{Spec: lifecyclev1alpha1.EvictionRequestSpec{
		Target:    lifecyclev1alpha1.EvictionRequestTarget{Pod: &lifecyclev1alpha1.EvictionRequestPodReference{Name: "web", UID: uid}},
		Requester: "acme.io/drain", Intent: lifecyclev1alpha1.EvictionRequestIntentEviction,
	}}
	for _, f := range change {
		f(r)
	}
	return r
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name    string
		request *request
		want    []string
	}{
		{"it names a pod", ask(), nil},
		{"it names something", ask(func(r *request) { r.Spec.Target.Pod = nil }), []string{"spec.target: Invalid value: \"\": must specify one of: `pod`"}},
		{"it names the pod in full", ask(func(r *request) { r.Spec.Target.Pod = &lifecyclev1alpha1.EvictionRequestPodReference{} }), []string{
			"spec.target.pod.name: Required value", "spec.target.pod.uid: Required value",
		}},
		{"it names a pod that may be", ask(func(r *request) { r.Spec.Target.Pod.Name, r.Spec.Target.Pod.UID = "_", "7" }), []string{
			`spec.target.pod.name: Invalid value: "_": a lowercase RFC 1123 subdomain`, `spec.target.pod.uid: Invalid value: "7": must be a lowercase UUID in 8-4-4-4-12 format`,
		}},
		{"somebody asks for something", ask(func(r *request) { r.Spec.Requester, r.Spec.Intent = "", "" }), []string{"spec.requester: Required value", "spec.intent: Required value"}},
		{"a requester has a domain", ask(func(r *request) { r.Spec.Requester = "drain" }), []string{`spec.requester: Invalid value: "drain": must include a prefix (e.g. 'example.com/key')`}},
		{"a requester is not Kubernetes", ask(func(r *request) { r.Spec.Requester = "x.k8s.io/drain" }), []string{
			`spec.requester: Invalid value: "x.k8s.io/drain": domain names *.k8s.io, *.kubernetes.io are reserved`,
		}},
		{"a domain may look like that", ask(func(r *request) { r.Spec.Requester = "not-k8s.io/drain" }), nil},
		{"there are two intents", ask(func(r *request) { r.Spec.Intent = "Perhaps" }), []string{`spec.intent: Unsupported value: "Perhaps": supported values: "Eviction", "Withdrawn"`}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, lifecycle.EvictionRequest.ValidateCreate(c.request), c.want...) })
	}
	for _, c := range []struct {
		name    string
		request *request
		want    []string
	}{
		{"it is withdrawn", ask(func(r *request) { r.Spec.Intent = lifecyclev1alpha1.EvictionRequestIntentWithdrawn }), nil},
		{"it keeps its pod", ask(func(r *request) { r.Spec.Target.Pod.Name = "db" }), []string{"spec.target: Invalid value: null: field is immutable"}},
		{"it keeps its requester", ask(func(r *request) { r.Spec.Requester = "acme.io/other" }), []string{"spec.requester: Invalid value: null: field is immutable"}},
		{"its intent stays one of two", ask(func(r *request) { r.Spec.Intent = "" }), []string{"spec.intent: Required value"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, lifecycle.EvictionRequest.ValidateUpdate(c.request, ask()), c.want...)
		})
	}
}

func TestStatusOfRequests(t *testing.T) {
	seen := func(n *int64, conditions ...metav1.Condition) *request {
		return ask(func(r *request) { r.Status.ObservedGeneration, r.Status.Conditions = n, conditions })
	}
	for _, c := range []struct {
		name     string
		now, old *request
		want     []string
	}{
		{"a generation is seen", seen(ptr.To[int64](2)), seen(ptr.To[int64](1)), nil},
		{"none is seen again", seen(ptr.To[int64](1)), seen(ptr.To[int64](2)), []string{"status.observedGeneration: Invalid value: 1: may not be decreased from 2"}},
		{"none is unseen", seen(nil), seen(ptr.To[int64](2)), []string{"status.observedGeneration: Invalid value: null: field cannot be cleared once set"}},
		{"they begin at one", seen(ptr.To[int64](0)), seen(nil), []string{"status.observedGeneration: Invalid value: 0: must be greater than or equal to 1"}},
		{"conditions are whole", seen(nil, condition("")), seen(nil), []string{"status.conditions[0].type: Required value"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, lifecycle.EvictionRequest.Status.Validate(c.now, c.old), c.want...)
		})
	}
	var many []metav1.Condition
	for i := range 101 {
		many = append(many, condition(fmt.Sprintf("C%d", i)))
	}
	kindtest.Errors(t, lifecycle.EvictionRequest.Status.Validate(seen(nil, many...), seen(nil)), "status.conditions: Too many: 101: must have at most 100 items")

	for _, c := range []struct {
		name    string
		request *request
		want    string
	}{
		{"a new one", ask(), "web|Pod|Pending|acme.io/drain|Eviction"},
		{"one that was seen", seen(ptr.To[int64](1)), "web|Pod|Progressing|acme.io/drain|Eviction"},
		{"one that failed", seen(ptr.To[int64](1), condition("Failed")), "web|Pod|Failed (Because)|acme.io/drain|Eviction"},
		{"one that is done", seen(nil, condition("Failed"), condition("TargetEvicted")), "web|Pod|TargetEvicted (Because)|acme.io/drain|Eviction"},
		{"one of nothing", &request{}, "<unset>|<unset>|Pending||"},
	} {
		t.Run("printed: "+c.name, func(t *testing.T) {
			if got := cells(lifecycle.EvictionRequest.Erase().Cells(c.request)[1:6]); got != c.want {
				t.Errorf("%s", got)
			}
		})
	}
}

func cells(values []any) string {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = v.(string)
	}
	return strings.Join(text, "|")
}

func condition(kind string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Because", LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))}
}

func TestEvictions(t *testing.T) {
	of := func(name string) *lifecyclev1alpha1.Eviction {
		return &lifecyclev1alpha1.Eviction{Spec: lifecyclev1alpha1.EvictionSpec{Target: lifecyclev1alpha1.EvictionTarget{Pod: &lifecyclev1alpha1.EvictionPodReference{Name: name, UID: uid}}}}
	}
	kindtest.Errors(t, lifecycle.Eviction.ValidateCreate(of("web")))
	kindtest.Errors(t, lifecycle.Eviction.ValidateCreate(&lifecyclev1alpha1.Eviction{}), "spec.target: Invalid value: \"\": must specify one of: `pod`")
	kindtest.Errors(t, lifecycle.Eviction.ValidateUpdate(of("web"), of("web")))
	kindtest.Errors(t, lifecycle.Eviction.ValidateUpdate(of("web"), of("db")), "spec.target: Invalid value: null: field is immutable")
	kindtest.Errors(t, lifecycle.Eviction.Status.Validate(of("web"), of("web")))
}

// now is when the statuses of these tests are written.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(d time.Duration) *metav1.Time { return ptr.To(metav1.NewTime(now.Add(d))) }

// line makes a status whose responders, a.io/0 and on, are in states.
func line(states ...state) *status {
	s := &status{}
	for i, is := range states {
		name := fmt.Sprintf("a.io/%d", i)
		s.TargetResponders = append(s.TargetResponders, lifecyclev1alpha1.TargetResponder{Name: name, Priority: ptr.To(int32(10000 - i)), State: is})
		s.Responders = append(s.Responders, lifecyclev1alpha1.ResponderStatus{Name: name})
	}
	return s
}

// with changes a status.
func with(s *status, change ...func(*status)) *status {
	for _, f := range change {
		f(s)
	}
	return s
}

func started(i int, d time.Duration) func(*status) {
	return func(s *status) { s.Responders[i].StartTime = at(d) }
}

func beat(i int, d time.Duration) func(*status) {
	return func(s *status) { s.Responders[i].HeartbeatTime = at(d) }
}

func done(i int, d time.Duration) func(*status) {
	return func(s *status) { s.Responders[i].CompletionTime = at(d) }
}

func expected(i int, d time.Duration) func(*status) {
	return func(s *status) { s.Responders[i].ExpectedCompletionTime = at(d) }
}

func ended(kind string) func(*status) {
	return func(s *status) { s.Conditions = append(s.Conditions, condition(kind)) }
}

func wanted(by ...lifecyclev1alpha1.Requester) func(*status) {
	return func(s *status) { s.Requesters = by }
}

func by(name, intent string) lifecyclev1alpha1.Requester {
	return lifecyclev1alpha1.Requester{Name: name, Intent: lifecyclev1alpha1.RequesterIntent(intent)}
}

func TestStatusOfEvictions(t *testing.T) {
	const (
		targets = "status.targetResponders"
		reports = "status.responders"
		hour    = time.Hour
	)
	running := func(change ...func(*status)) *status {
		return with(with(line(active, inactive), started(0, -hour)), change...)
	}
	for _, c := range []struct {
		name     string
		now, old *status
		want     []string
	}{
		{"the first begins", with(line(active, inactive), started(0, 0)), &status{}, nil},
		{"the first begins at once", line(inactive, inactive), &status{}, []string{
			targets + `[0].state: Invalid value: "Inactive": must be one of: Active, because this responder is next in line`,
		}},
		{"one begins at a time", with(line(active, active), started(0, 0), started(1, 0)), &status{}, []string{
			targets + `[1].state: Invalid value: "Active": must be one of: Inactive, because the previously active has not finished processing`,
			targets + "[1].state: Forbidden: must stay Active",
		}},
		{"who begins says when", line(active), &status{}, []string{reports + "[0].startTime: Required value: is required for an active responder"}},
		{"who begins does now", with(line(active), started(0, -hour)), &status{}, []string{reports + `[0].startTime: Invalid value: "2026-01-02T02:04:05Z": must be set to the present time`}},
		{"clocks may differ a little", with(line(active), started(0, 29*time.Second)), &status{}, nil},
		{"nobody begins what has ended", with(line(inactive), ended("Failed")), &status{}, nil},

		{"it reports", running(beat(0, 0)), running(), nil},
		{"it reports now", running(beat(0, -time.Minute)), running(), []string{reports + `[0].heartbeatTime: Invalid value: "2026-01-02T03:03:05Z": must be set to the present time`}},
		{"it reports after it began", running(beat(0, -2*hour)), running(), []string{reports + `[0].heartbeatTime: Invalid value: "2026-01-02T01:04:05Z": must occur after status.responders[0].startTime`}},
		{"it goes on in time", running(beat(0, -10*time.Second)), running(beat(0, 0)), []string{reports + `[0].heartbeatTime: Invalid value: "2026-01-02T03:03:55Z": cannot be decreased`}},
		{"it does not take a report back", running(), running(beat(0, 0)), []string{reports + "[0].heartbeatTime: Required value: is required once set"}},
		{"it keeps its start", running(started(0, 0)), running(), []string{reports + "[0].startTime: Invalid value: null: field cannot be modified once set"}},
		{"it expects an end", running(expected(0, hour)), running(), nil},
		{"it expects no end in the past", running(expected(0, -time.Minute)), running(), []string{reports + `[0].expectedCompletionTime: Invalid value: "2026-01-02T03:03:05Z": cannot be set to the past time`}},
		{"it expects an end in ten years", running(expected(0, 11*365*24*hour)), running(), []string{reports + `[0].expectedCompletionTime: Invalid value: "2036-12-30T03:04:05Z": must complete within 10 years`}},
		{"it says little", running(func(s *status) { s.Responders[0].Message = ptr.To(strings.Repeat("a", 4001)) }), running(), []string{reports + "[0].message: Too long: may not be more than 4000 characters"}},
		{"those who wait report nothing", running(beat(1, 0)), running(), []string{reports + "[1]: Invalid value: {"}},

		{
			"it completes and the next begins", with(line(completed, active), started(0, -hour), done(0, 0), started(1, 0)),
			running(done(0, 0)), nil,
		},
		{"it completes after it began", running(done(0, -2*hour)), running(), []string{reports + `[0].completionTime: Invalid value: "2026-01-02T01:04:05Z": must occur after status.responders[0].startTime`}},
		{"its completion stays", running(), running(done(0, 0)), []string{reports + "[0].completionTime: Invalid value: null: field cannot be cleared once set"}},
		{
			"silence ends it", with(line(interrupted, active), started(0, -hour), started(1, 0)), running(), nil,
		},
		{
			"a report keeps it", with(line(interrupted, active), started(0, -hour), beat(0, -time.Minute), started(1, 0)), running(beat(0, -time.Minute)),
			[]string{targets + "[0].state: Forbidden: must stay Active because the responder is in progress and it should report status.responders.heartbeatTime or status.responders.completionTime"},
		},
		{"it does not go back to waiting", with(line(inactive, active), started(0, -hour), started(1, 0)), running(), []string{
			targets + `[0].state: Invalid value: "Inactive": must be one of: Canceled, Completed, Interrupted, because this responder must reach a final state`,
		}},
		{"an end is final", with(line(canceled, active), started(1, -hour)), with(line(completed, active), started(1, -hour)), []string{
			targets + `[0].state: Invalid value: "Canceled": must be one of: Completed, because final state is immutable`,
		}},
		{"the end of all ends it", running(ended("TargetEvicted")), running(), []string{
			targets + `[0].state: Invalid value: "Active": must be one of: Canceled, Completed, Interrupted, because the eviction request has finished processing`,
		}},
		{"it is canceled with all", with(line(canceled, inactive), started(0, -time.Minute), ended("Failed")), with(line(active, inactive), started(0, -time.Minute)), nil},
		{"after the end all stays", with(line(canceled, inactive), ended("Failed")), with(line(canceled, inactive), ended("Failed")), nil},
		{"the end stays", line(), with(line(), ended("Failed")), []string{"status.conditions: Invalid value: null: Failed condition status cannot be reverted"}},

		{"the line keeps its length", with(line(active), started(0, -hour)), running(), []string{
			targets + `: Invalid value: [{"name":"a.io/0","priority":10000,"state":"Active"}]: must preserve the same length and the same keys in the same order`,
		}},
		{"the line keeps its order", with(running(), func(s *status) { slices.Reverse(s.TargetResponders); slices.Reverse(s.Responders) }), running(), []string{targets + ": Invalid value: [{"}},
		{"reports are the line's", running(func(s *status) { s.Responders = s.Responders[:1] }), running(), []string{
			targets + "[1]: Invalid value: {", reports + ": Invalid value: [{",
		}},
		{"reports are in the line's order", running(func(s *status) { slices.Reverse(s.Responders) }), running(), []string{
			targets + "[0]: Invalid value: {", targets + "[1]: Invalid value: {", reports + ": Invalid value: [{",
		}},
		{"the line is not too long", line(slices.Repeat([]state{inactive}, 12)...), &status{}, []string{
			targets + ": Too many: 12: must have at most 11 items", reports + ": Too many: 12: must have at most 11 items",
		}},
		{"nobody is in line twice", with(line(active, inactive), func(s *status) {
			s.TargetResponders[1].Name, s.Responders[1].Name = "a.io/0", "a.io/0"
		}), &status{}, []string{targets + "[1]: Duplicate value", reports + "[1]: Duplicate value"}},
		{"everybody has a name", with(line(active), started(0, 0), func(s *status) { s.TargetResponders[0].Name, s.Responders[0].Name = "a", "a" }), &status{}, []string{
			targets + `[0].name: Invalid value: "a": must include a prefix`, reports + `[0].name: Invalid value: "a": must include a prefix`,
		}},
		{"everybody has a priority", with(line(active), started(0, 0), func(s *status) { s.TargetResponders[0].Priority = nil }), &status{}, []string{targets + "[0].priority: Required value"}},
		{"a priority is not too high", with(line(active), started(0, 0), func(s *status) { s.TargetResponders[0].Priority = ptr.To[int32](100001) }), &status{}, []string{
			targets + "[0].priority: Invalid value: 100001: must be less than or equal to 100000",
		}},
		{"a priority stays", running(func(s *status) { s.TargetResponders[0].Priority = ptr.To[int32](1) }), running(), []string{
			targets + "[0].priority: Invalid value: null: field cannot be modified once set",
		}},

		{"some want it", with(line(), wanted(by("a.io/x", "Eviction"), by("b.io/x", "Withdrawn"))), line(), nil},
		{"those who want it have names", with(line(), wanted(by("", "Eviction"), by("x", "No"), by("x", "Eviction"))), line(), []string{
			"status.requesters[2]: Duplicate value", "status.requesters[0].name: Required value",
			`status.requesters[1].name: Invalid value: "x": must include a prefix`, `status.requesters[1].intent: Unsupported value: "No"`,
			`status.requesters[2].name: Invalid value: "x": must include a prefix`,
		}},
		{"a hundred want it at most", with(line(), wanted(make([]lifecyclev1alpha1.Requester, 101)...)), line(), []string{"status.requesters: Too many: 101: must have at most 100 items"}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, lifecycle.CheckEvictionStatus(c.now, c.old, now), c.want...) })
	}
}

func TestEvictionsArePrinted(t *testing.T) {
	since := func(d time.Duration) *metav1.Time { return ptr.To(metav1.NewTime(time.Now().Add(-d - 30*time.Second))) }
	ahead := metav1.NewTime(time.Now().Add(time.Hour + 30*time.Second))
	for _, c := range []struct {
		name   string
		status *status
		want   string
	}{
		{"nobody is at work", &status{}, "Pending|<unset> (0/0)|<unset>|<unknown>|<none>|<unset>|<unset>"},
		{"one is at work", with(line(interrupted, active, inactive), func(s *status) {
			s.ObservedGeneration = ptr.To[int64](1)
			s.Responders[1].StartTime, s.Responders[1].HeartbeatTime, s.Responders[1].ExpectedCompletionTime = since(10*time.Minute), since(12*time.Minute), &ahead
			s.Responders[1].Message = ptr.To(" moving ")
		}, wanted(by("b.io/x", "Eviction"), by("a.io/x", "Eviction"), by("c.io/x", "Withdrawn"))),
			"Progressing|a.io/1 (2/3)|Started (10m ago)|in 60m|a.io/x + 1 more...|12m ago|moving"},
		{"one is late", with(line(active), func(s *status) {
			s.Responders[0].StartTime, s.Responders[0].ExpectedCompletionTime = since(20*time.Minute), since(15*time.Minute)
		}, wanted(by("b.io/x", "Eviction"))), "Pending|a.io/0 (1/1)|Started (20m ago)|15m ago|b.io/x|<unset>|<unset>"},
		{"one has completed", with(line(completed, inactive), func(s *status) { s.Responders[0].CompletionTime = since(10 * time.Minute) }, wanted(by("b.io/x", "Withdrawn")), ended("TargetEvicted")),
			"TargetEvicted (Because)|a.io/0 (1/2)|Completed (10m ago)|-|<withdrawn>|<unset>|<unset>"},
		{"one was canceled", with(line(canceled, inactive), ended("Failed")), "Failed (Because)|a.io/0 (1/2)|Canceled|-|<none>|<unset>|<unset>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := lifecycle.Eviction.Erase().Cells(&lifecyclev1alpha1.Eviction{Status: *c.status})
			if got := cells(slices.Delete(row, 8, 9)[3:]); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
}
