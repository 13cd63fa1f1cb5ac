package controllers

import (
	"fmt"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"
)

// controller is one line of the list: a loop that can be switched on or off.
type controller struct {
	// name is the one that `--controllers` takes, upstream's.
	name string

	// alias is the short name that upstream still accepts.
	alias string

	// setup adds the controller to a manager.
	setup func(mgr ctrl.Manager, cfg Config) error
}

// all returns every controller of the room, workloads first.
func all() []controller {
	return append(workloadControllers(), clusterControllers()...)
}

// Names returns the names of all controllers, as `--controllers` takes them.
func Names() []string {
	names := make([]string, 0, len(all()))
	for _, c := range all() {
		names = append(names, c.name)
	}
	return names
}

// choose returns the controllers that selection asks for. An entry is a name,
// "-" and a name to leave that one out, or "*" for all that are not named; the
// first entry about a controller counts. No selection means "*".
// The rules are those of kube-controller-manager's flag.
func choose(list []controller, selection []string) ([]controller, error) {
	if len(selection) == 0 {
		selection = []string{"*"}
	}
	known := map[string]string{}
	for _, c := range list {
		known[c.name] = c.name
		if c.alias != "" {
			known[c.alias] = c.name
		}
	}
	wanted := map[string]bool{}
	star := false
	for _, entry := range selection {
		if entry == "*" {
			star = true
			continue
		}
		bare, isOff := strings.CutPrefix(entry, "-")
		name, ok := known[bare]
		if !ok {
			return nil, fmt.Errorf("%q is not in the list of known controllers", bare)
		}
		if _, decided := wanted[name]; !decided {
			wanted[name] = !isOff
		}
	}
	var chosen []controller
	for _, c := range list {
		on, decided := wanted[c.name]
		if on || (!decided && star) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}
