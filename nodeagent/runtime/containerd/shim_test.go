//go:build linux

package containerd_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
)

// TestShimsKeepLittleGarbage looks at the environment of the process that a
// container is a child of.
func TestShimsKeepLittleGarbage(t *testing.T) {
	n := newNode(t)
	rt, _ := n.open(t)
	if _, err := rt.ImportImages(t.Context(), runtimetest.Image(t, runtimetest.ImageName)); err != nil {
		t.Fatal(err)
	}
	p := newPod(t, rt)
	defer p.remove(t, rt)
	running := p.get(t, rt, p.start(t, rt, "counts", "count", "1ms"))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", running.PID))
	if err != nil {
		t.Fatal(err)
	}
	shim := ""
	for line := range strings.Lines(string(status)) {
		if parent, ok := strings.CutPrefix(line, "PPid:"); ok {
			shim = strings.TrimSpace(parent)
		}
	}
	environment, err := os.ReadFile("/proc/" + shim + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if all := bytes.Split(environment, []byte{0}); !slices.ContainsFunc(all, func(v []byte) bool { return string(v) == "GOGC=25" }) {
		t.Errorf("the shim has no limit of its own: %q", all)
	}
}
