package command

import (
	"os"
	"testing"
)

// asSkiff makes the test's own executable behave as skiff, whose processes start
// others of it.
const asSkiff = "COMMAND_TEST_AS_SKIFF"

func TestMain(m *testing.M) {
	if os.Getenv(asSkiff) != "" {
		os.Exit(Main(Args(os.Args)))
	}
	os.Exit(m.Run())
}
