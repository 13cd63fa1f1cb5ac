package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/skiffcluster/skiff/api"
)

// ReplicaSet is the kind.
var ReplicaSet = api.Of[appsv1.ReplicaSet]{
	Group: appsv1.GroupName, Version: "v1", Kind: "ReplicaSet", Resource: "replicasets",
	ShortNames: []string{"rs"},
	Categories: []string{"all"},
	Generation: true,
	Status:     &api.Status[appsv1.ReplicaSet]{},
}
