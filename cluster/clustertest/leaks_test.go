package clustertest_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestNothingIsLeftBehind runs before the parallel tests of this package, which
// all wait until it has returned.
func TestNothingIsLeftBehind(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	use := func(t *testing.T) {
		c := clustertest.With(t, cluster.Config{Webhooks: &cluster.Webhooks{}})
		if _, err := os.Stat(c.KubeconfigFile(t)); err != nil {
			t.Error(err)
		}
		d := deployment("web", 2)
		if err := c.Client().Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		available(t, c.Client(), d)
		if err := c.Client().List(t.Context(), &corev1.PodList{}); err != nil {
			t.Error(err)
		}
	}
	t.Run("what a process does once", use)
	goroutines, files := stacks(), descriptors(t)
	t.Run("another cluster", use)

	eventually(t, "no goroutine is left", func() (bool, string) {
		left := difference(stacks(), goroutines)
		return len(left) == 0, strings.Join(left, "\n\n")
	})
	// Sockets are files: a port that is left is one of these.
	eventually(t, "no file and no port is left open", func() (bool, string) {
		left := difference(descriptors(t), files)
		return len(left) == 0, strings.Join(left, "\n")
	})
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("temporary directory: got %v, %v; want it empty", left, err)
	}
}

// stacks counts the goroutines by where they were started.
func stacks() map[string]int {
	buf := make([]byte, 8<<20)
	out := map[string]int{}
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		// "goroutine 7 [select, 2 minutes]:", frames, "created by …, in goroutine 1"
		_, frames, _ := strings.Cut(g, "\n")
		if _, created, ok := strings.Cut(frames, "created by "); ok {
			created, _, _ = strings.Cut(created, " in goroutine")
			out[created]++
		}
	}
	return out
}

// descriptors counts the open files by what they are.
func descriptors(t *testing.T) map[string]int {
	t.Helper()
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Skip("open files can't be listed here: ", err)
	}
	out := map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // the one that lists
		}
		kind, _, _ := strings.Cut(target, ":[")
		out[kind]++
	}
	return out
}

// difference is what there is more of.
func difference(after, before map[string]int) []string {
	var out []string
	for what, n := range after {
		if n > before[what] {
			out = append(out, what)
		}
	}
	return out
}
