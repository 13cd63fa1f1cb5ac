package kindtest

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Errors fails the test unless the errors are those wanted, in their order,
// each given by how its text begins.
func Errors(t *testing.T, got field.ErrorList, want ...string) {
	t.Helper()
	texts := make([]string, len(got))
	for i, err := range got {
		texts[i] = err.Error()
	}
	for i := range max(len(texts), len(want)) {
		if i >= len(texts) || i >= len(want) || !strings.HasPrefix(texts[i], want[i]) {
			t.Fatalf("errors\n  %s\nwant\n  %s", strings.Join(texts, "\n  "), strings.Join(want, "\n  "))
		}
	}
}
