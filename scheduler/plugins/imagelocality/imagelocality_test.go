package imagelocality_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/plugins/imagelocality"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func TestNodesWithTheImageAreBetter(t *testing.T) {
	has := func(size int64) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"app:latest", "app@sha256:1"}, SizeBytes: size}}
		}
	}
	nodes := []*corev1.Node{Node("with", "", has(1000<<20)), Node("without", "")}
	// Half of the nodes have it, so it counts with half its size.
	want := map[string]int64{"with": 100 * (500 - 23) / (1000 - 23), "without": 0}
	if got := Scores(imagelocality.Rule{}, Turn(t, Pod("p", ""), nodes)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
