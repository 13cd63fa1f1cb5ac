package storagemigration

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	k := StorageVersionMigration.Erase()
	return []*api.Kind{k, k.In("v1beta1")}
}
