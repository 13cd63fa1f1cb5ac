package lifecycle

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{Eviction.Erase(), EvictionRequest.Erase()}
}
