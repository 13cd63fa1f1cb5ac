package turn_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/turn"
)

func TestInOrder(t *testing.T) {
	fault := errors.New("fault")
	step := func(name string, after time.Duration, err error) turn.Step[*strings.Builder] {
		return func(_ context.Context, ran *strings.Builder) (ctrl.Result, error) {
			ran.WriteString(name)
			return ctrl.Result{RequeueAfter: after}, err
		}
	}
	tests := []struct {
		name  string
		steps []turn.Step[*strings.Builder]
		ran   string
		after time.Duration
		fault error
	}{
		{"no steps", nil, "", 0, nil},
		{"all steps run, in order", []turn.Step[*strings.Builder]{step("a", 0, nil), step("b", 0, nil)}, "ab", 0, nil},
		{"the earliest wish counts", []turn.Step[*strings.Builder]{step("a", 3, nil), step("b", 2, nil), step("c", 0, nil)}, "abc", 2, nil},
		{"a fault ends the turn and all wishes", []turn.Step[*strings.Builder]{step("a", 3, nil), step("b", 2, fault), step("c", 0, nil)}, "ab", 0, fault},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var ran strings.Builder
			result, err := turn.InOrder(t.Context(), &ran, test.steps...)
			if ran.String() != test.ran || result.RequeueAfter != test.after || !errors.Is(err, test.fault) {
				t.Errorf("ran %q, again after %s, %v; want %q, %s, %v", ran.String(), result.RequeueAfter, err, test.ran, test.after, test.fault)
			}
		})
	}
}

func TestWritten(t *testing.T) {
	kind := schema.GroupResource{Group: "apps", Resource: "deployments"}
	tests := []struct {
		name  string
		err   error
		after time.Duration
		fault bool
	}{
		{"what was written keeps the result", nil, time.Minute, false},
		{"what is gone needs no other turn", apierrors.NewNotFound(kind, "d"), 0, false},
		{"what has changed meanwhile gets one soon", apierrors.NewConflict(kind, "d", errors.New("changed")), turn.Conflict, false},
		{"any other fault is the turn's", apierrors.NewForbidden(kind, "d", errors.New("quota")), time.Minute, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result, err := turn.Written(t.Context(), ctrl.Result{RequeueAfter: time.Minute}, test.err)
			if result.RequeueAfter != test.after || (err != nil) != test.fault || test.fault && !errors.Is(err, test.err) {
				t.Errorf("again after %s, %v", result.RequeueAfter, err)
			}
		})
	}
}
