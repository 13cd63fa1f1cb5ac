package simulated_test

import (
	"strconv"
	"testing"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, runtimetest.Options{}, func(*testing.T) runtime.Runtime { return simulated.New(nil) })
}

// TestAPulledImageMayRunWhereRootMayNot is for the pods of Helm charts and of
// kubebuilder, which have runAsNonRoot and leave the user to the image.
func TestAPulledImageMayRunWhereRootMayNot(t *testing.T) {
	img, err := simulated.New(nil).PullImage(t.Context(), "example.com/manager:v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if uid, err := strconv.Atoi(img.User); err != nil || uid == 0 {
		t.Errorf("the image's user is %q", img.User)
	}
}
