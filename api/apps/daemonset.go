package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/skiffcluster/skiff/api"
)

// DaemonSet is the kind.
var DaemonSet = api.Of[appsv1.DaemonSet]{
	Group: appsv1.GroupName, Version: "v1", Kind: "DaemonSet", Resource: "daemonsets",
	ShortNames: []string{"ds"},
	Categories: []string{"all"},
	Generation: true,
	Status:     &api.Status[appsv1.DaemonSet]{},
}
