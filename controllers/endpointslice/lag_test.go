package endpointslice

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestLag(t *testing.T) {
	var l Lag
	web := types.NamespacedName{Name: "web"}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if l.TooLong(web, start) || l.TooLong(web, start.Add(2*time.Second)) {
		t.Error("a cache that is a little behind is given up")
	}
	if !l.TooLong(web, start.Add(3*time.Second)) {
		t.Error("a record that never comes true is kept")
	}
	if l.TooLong(web, start.Add(4*time.Second)) {
		t.Error("the next lag does not begin anew")
	}
	l.Over(web)
	if l.TooLong(web, start.Add(time.Hour)) {
		t.Error("a lag that was over is counted on")
	}
}
