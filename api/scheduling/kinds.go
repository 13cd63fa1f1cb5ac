package scheduling

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	group, workload := PodGroup.Erase(), Workload.Erase()
	return []*api.Kind{
		PriorityClass.Erase(), group, workload,
		CompositePodGroup.Erase(), group.In("v1alpha3"), workload.In("v1alpha3"),
	}
}
