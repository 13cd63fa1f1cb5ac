package apps

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{
		ControllerRevision.Erase(), DaemonSet.Erase(), Deployment.Erase(), ReplicaSet.Erase(), StatefulSet.Erase(),
	}
}
