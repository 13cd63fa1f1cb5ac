package balanced_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/plugins/balanced"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func TestScoreFallsWithTheDistanceOfShares(t *testing.T) {
	nodes := []*corev1.Node{Node("even", ""), Node("skewed", "")}
	turn := Turn(t, Pod("p", "", Requests("cpu", "1", "memory", "2Gi")), nodes, Pod("q", "", On("skewed"), Requests("cpu", "2")))
	// even: 25 % and 25 %; skewed: 75 % and 25 %, half the distance is 25 %.
	want := map[string]int64{"even": 100, "skewed": 75}
	if got := Scores(balanced.Rule{}, turn); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPodWithoutRequestsHasNoPreference(t *testing.T) {
	if got := Scores(balanced.Rule{}, Turn(t, Pod("p", ""), []*corev1.Node{Node("n", "")})); got != nil {
		t.Errorf("got %v", got)
	}
}
