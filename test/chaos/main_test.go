package chaos_test

import (
	"os"
	"testing"

	"github.com/skiffcluster/skiff/cluster/command"
)

// asSkiff makes the test's own executable behave as skiff.
const asSkiff = "CHAOS_TEST_AS_SKIFF"

func TestMain(m *testing.M) {
	if os.Getenv(asSkiff) != "" {
		os.Exit(command.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}
