package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/skiffcluster/skiff/api"
)

// Lease is the kind.
var Lease = api.Of[coordinationv1.Lease]{
	Group: coordinationv1.GroupName, Version: "v1", Kind: "Lease", Resource: "leases",
	CreateOnUpdate: true,
}
