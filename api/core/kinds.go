package core

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the core group, in the order of their names.
func Kinds() []*api.Kind {
	return []*api.Kind{
		ConfigMap.Erase(),
		Endpoints.Erase(),
		Event.Erase(),
		LimitRange.Erase(),
		Namespace.Erase(),
		Node.Erase(),
		PersistentVolume.Erase(),
		PersistentVolumeClaim.Erase(),
		Pod.Erase(),
		PodTemplate.Erase(),
		ReplicationController.Erase(),
		ResourceQuota.Erase(),
		Secret.Erase(),
		Service.Erase(),
		ServiceAccount.Erase(),
	}
}
