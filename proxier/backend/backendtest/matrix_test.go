package backendtest_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/proxier/backend/backendtest"
)

var update = flag.Bool("update", false, "write docs/services.md anew")

func TestTheDocumentHoldsTheMatrix(t *testing.T) {
	const path, begin, end = "../../../docs/services.md", "<!-- matrix -->\n", "<!-- end of matrix -->\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks %q and %q", path, begin, end)
	}
	want := "\n" + backendtest.Matrix() + "\n"
	if have == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the suite tests; go test ./proxier/backend/backendtest -update writes it", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
