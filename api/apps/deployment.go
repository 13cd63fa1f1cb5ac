package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/skiffcluster/skiff/api"
)

// Deployment is the kind.
var Deployment = api.Of[appsv1.Deployment]{
	Group: appsv1.GroupName, Version: "v1", Kind: "Deployment", Resource: "deployments",
	ShortNames: []string{"deploy"},
	Categories: []string{"all"},
	Generation: true,
	Status:     &api.Status[appsv1.Deployment]{},
}
