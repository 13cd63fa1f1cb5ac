package storage

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{
		CSIDriver.Erase(), CSINode.Erase(), CSIStorageCapacity.Erase(), StorageClass.Erase(), VolumeAttachment.Erase(), VolumeAttributesClass.Erase(),
	}
}
