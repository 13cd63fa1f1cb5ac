package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/skiffcluster/skiff/api"
)

// StatefulSet is the kind.
var StatefulSet = api.Of[appsv1.StatefulSet]{
	Group: appsv1.GroupName, Version: "v1", Kind: "StatefulSet", Resource: "statefulsets",
	ShortNames: []string{"sts"},
	Categories: []string{"all"},
	Generation: true,
	Status:     &api.Status[appsv1.StatefulSet]{},
}
