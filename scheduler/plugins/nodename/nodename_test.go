package nodename_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/plugins/nodename"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func TestOnlyTheNamedNodeFits(t *testing.T) {
	nodes := []*corev1.Node{Node("n1", ""), Node("n2", "")}
	want := map[string]string{"n1": "node(s) didn't match the requested node name", "n2": ""}
	if got := Judge(nodename.Rule{}, Turn(t, Pod("p", "", On("n2")), nodes)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want = map[string]string{"n1": "", "n2": ""}
	if got := Judge(nodename.Rule{}, Turn(t, Pod("p", ""), nodes)); !reflect.DeepEqual(got, want) {
		t.Errorf("without a name: got %v, want %v", got, want)
	}
}
