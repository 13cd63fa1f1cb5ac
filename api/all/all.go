package all

import (
	"slices"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/apps"
	"github.com/skiffcluster/skiff/api/coordination"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/rbac"
)

// Kinds are all kinds that are served, by group. Each call makes new values.
func Kinds() []*api.Kind {
	return slices.Concat(
		core.Kinds(),
		apps.Kinds(),
		coordination.Kinds(),
		rbac.Kinds(),
	)
}
