package coordination

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	candidate := LeaseCandidate.Erase()
	return []*api.Kind{Lease.Erase(), candidate, candidate.In("v1alpha2")}
}
