package controllers

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	list := []controller{{name: "deployment-controller", alias: "deployment"}, {name: "replicaset-controller", alias: "replicaset"}, {name: "gc-controller"}}
	tests := []struct {
		name      string
		selection []string
		want      string
		fault     string
	}{
		{"nothing said is all", nil, "deployment-controller replicaset-controller gc-controller", ""},
		{"a star is all", []string{"*"}, "deployment-controller replicaset-controller gc-controller", ""},
		{"all but one", []string{"*", "-gc-controller"}, "deployment-controller replicaset-controller", ""},
		{"the order does not matter", []string{"-gc-controller", "*"}, "deployment-controller replicaset-controller", ""},
		{"one alone", []string{"replicaset-controller"}, "replicaset-controller", ""},
		{"a short name", []string{"replicaset", "-deployment"}, "replicaset-controller", ""},
		{"the first word about one counts", []string{"-deployment", "deployment-controller", "*"}, "replicaset-controller gc-controller", ""},
		{"only leaving out leaves nothing", []string{"-gc-controller"}, "", ""},
		{"an unknown name", []string{"*", "-nonsense"}, "", `"nonsense" is not in the list of known controllers`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			chosen, err := choose(list, test.selection)
			if (err == nil) != (test.fault == "") || (err != nil && err.Error() != test.fault) {
				t.Fatalf("got error %v, want %q", err, test.fault)
			}
			var names []string
			for _, c := range chosen {
				names = append(names, c.name)
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range all() {
		for _, name := range []string{c.name, c.alias} {
			if name != "" && seen[name] {
				t.Errorf("%q is there twice", name)
			}
			seen[name] = true
		}
	}
}
