package chaos_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/skiffcluster/skiff/cluster/command"
	"github.com/skiffcluster/skiff/test/namespaces"
)

// The tests run in namespaces of their own, whose end is the end of all that
// they have started: the first process inside reaps what loses its parent, and
// starts the tests.
const (
	// asSkiff makes the test's own executable behave as skiff.
	asSkiff   = "CHAOS_TEST_AS_SKIFF"
	stage     = "CHAOS_TEST_STAGE"
	stageInit = "init"
	stageTest = "test"
	workDir   = "CHAOS_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asSkiff) != "":
		os.Exit(command.Main(os.Args[1:]))
	case os.Getenv(stage) == stageInit:
		os.Exit(namespaces.ExitCode("chaos", reap()))
	case os.Getenv(stage) == stageTest:
		os.Exit(m.Run())
	}
	if lacking = missing(); lacking != "" {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	os.Exit(namespaces.ExitCode("chaos", namespaces.Outside("chaos", workDir, stage+"="+stageInit)))
}

// lacking is what the machine lacks for these tests.
var lacking string

func missing() string {
	if os.Geteuid() != 0 {
		return "needs root: workers are network namespaces with containers"
	}
	return namespaces.Missing("containerd", "containerd-shim-runc-v2", "runc", image)
}

// image is that of the sample service.
const image = "images/hello-v1.tar"

func reap() error {
	if err := furnish(); err != nil {
		return fmt.Errorf("make the tests' namespaces: %w", err)
	}
	return namespaces.Reap(namespaces.Self(stage + "=" + stageTest))
}

// furnish gives the namespaces what a machine has that has one address.
func furnish() error {
	if err := namespaces.MountOwn(); err != nil {
		return err
	}
	_, err := namespaces.Uplink()
	return err
}
