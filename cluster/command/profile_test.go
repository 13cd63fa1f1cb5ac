package command

import (
	"os"
	"path/filepath"
	"testing"
)

// A number that a killed process left behind is not its own for good.
func TestAProfileRunsWhenItsProcessHasTheLock(t *testing.T) {
	p := profile{"here", filepath.Join(t.TempDir(), "here")}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	release, err := p.lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.write(run{PID: os.Getpid(), Ready: true}); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.running(); !ok {
		t.Error("a process that has the lock does not run")
	}
	release()
	if _, ok := p.running(); ok {
		t.Error("another process that has got the same number is taken for it")
	}
}
