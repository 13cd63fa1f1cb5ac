package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/skiffcluster/skiff/api"
)

// ControllerRevision is the kind.
var ControllerRevision = api.Of[appsv1.ControllerRevision]{
	Group: appsv1.GroupName, Version: "v1", Kind: "ControllerRevision", Resource: "controllerrevisions",
}
