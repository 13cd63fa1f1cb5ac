package layers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/skiffcluster/skiff"

// layer is a part of the tree and what of the others its packages may import.
// Packages of one part may import each other.
type layer struct {
	part    string   // folder below the module, with all below it
	imports []string // further parts
	// tests are the parts that only tests in another package may import.
	tests []string
}

// rooms meet at API objects and nowhere else: none imports another.
var rooms = []string{"apiserver", "controllers", "dns", "nodeagent", "proxier", "scheduler"}

// layers are read from the top of the picture to its bottom:
//
//	main ─▶ cluster/command ─▶ cluster ─▶ rooms ─▶ api ─▶ internal
//
// A package belongs to the first part that it stands in.
var layers = []layer{
	{part: "cluster/command", imports: append([]string{"cluster", "api", "internal"}, rooms...)},
	{part: "cluster/clustertest", imports: []string{"cluster"}},
	{part: "cluster", imports: append([]string{"api", "internal"}, rooms...), tests: []string{"cluster/clustertest"}},

	{part: "apiserver", imports: []string{"api", "internal"}, tests: []string{"cluster/clustertest", "cluster"}},
	{part: "controllers", imports: []string{"api", "internal"}, tests: []string{"cluster/clustertest", "cluster"}},
	{part: "scheduler", imports: []string{"api", "internal"}, tests: []string{"cluster/clustertest", "cluster"}},
	{part: "nodeagent", imports: []string{"api", "internal"}, tests: []string{"cluster/clustertest", "cluster"}},
	{part: "proxier", imports: []string{"api", "internal"}, tests: []string{"cluster/clustertest", "cluster"}},
	{part: "dns", imports: []string{"api", "internal"}, tests: []string{"cluster/clustertest", "cluster"}},

	{part: "api", tests: []string{"cluster/clustertest", "cluster"}},
	{part: "internal"},

	{part: "config"}, // the sample application is a program as any user's
	// So are the examples, which are tested as their authors would test them.
	{part: "docs", tests: []string{"cluster/clustertest", "cluster"}},
	// What needs several rooms, programs that measure among it.
	{part: "test", imports: append([]string{"cluster/command", "cluster/clustertest", "cluster", "api", "internal"}, rooms...)},
	{part: "", imports: []string{"cluster/command"}}, // main.go
}

// forbidden are imports from outside that a part must do without.
var forbidden = []struct {
	part, prefix, why string
}{
	{"", "k8s.io/kubernetes", "its internals are nobody's library; use the staging ones"},
	{"api", "k8s.io/client-go", "what is true of a kind is pure"},
	{"api", "k8s.io/apiserver", "what is true of a kind is pure"},
	{"api", "net/http", "what is true of a kind is pure"},
	{"controllers", "go.etcd.io/etcd", "only the API server knows where objects are kept"},
	{"scheduler", "go.etcd.io/etcd", "only the API server knows where objects are kept"},
	{"nodeagent", "go.etcd.io/etcd", "only the API server knows where objects are kept"},
	{"proxier", "go.etcd.io/etcd", "only the API server knows where objects are kept"},
	{"dns", "go.etcd.io/etcd", "only the API server knows where objects are kept"},
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestPackagesImportOnlyWhatTheirPartMay(t *testing.T) {
	packages := list(t)
	seen := map[string]bool{}
	for _, p := range packages {
		part := partOf(p.ImportPath)
		seen[part.part] = true
		check(t, p.ImportPath, part, p.Imports, part.imports)
		check(t, p.ImportPath, part, p.TestImports, part.imports)
		check(t, p.ImportPath, part, p.XTestImports, append(slices.Clone(part.imports), part.tests...))
	}
	for _, l := range layers {
		if !seen[l.part] {
			t.Errorf("the table has a part %q that has no package", l.part)
		}
	}
}

func check(t *testing.T, from string, part layer, imports, allowed []string) {
	t.Helper()
	for _, to := range imports {
		for _, f := range forbidden {
			if in(from, f.part) && (to == f.prefix || strings.HasPrefix(to, f.prefix+"/")) {
				t.Errorf("%s imports %s: %s", from, to, f.why)
			}
		}
		if to != module && !strings.HasPrefix(to, module+"/") {
			continue
		}
		if target := partOf(to).part; target != part.part && !slices.Contains(allowed, target) {
			t.Errorf("%s, in part %q, imports %s, in part %q: it may import %q", from, part.part, to, target, allowed)
		}
	}
}

func partOf(path string) layer {
	for _, l := range layers {
		if in(path, l.part) {
			return l
		}
	}
	panic("the last part holds every package")
}

// in says whether a package stands in a folder of the module.
func in(path, part string) bool {
	if part == "" {
		return true
	}
	return path == module+"/"+part || strings.HasPrefix(path, module+"/"+part+"/")
}

// list gives every package of the module with its imports.
func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaints.String())
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read what go list prints: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) < len(layers) {
		t.Fatalf("go list shows %d packages only: %v", len(packages), packages)
	}
	return packages
}
