package flowcontrol

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{FlowSchema.Erase(), PriorityLevelConfiguration.Erase()}
}
