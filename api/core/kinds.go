package core

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the core group, in the order of their names.
func Kinds() []*api.Kind {
	return []*api.Kind{
		ConfigMap.Erase(),
		Namespace.Erase(),
		Node.Erase(),
		Pod.Erase(),
		PodTemplate.Erase(),
		ReplicationController.Erase(),
		Secret.Erase(),
		Service.Erase(),
		ServiceAccount.Erase(),
	}
}
