package all

import (
	"slices"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/admissionregistration"
	"github.com/skiffcluster/skiff/api/apiregistration"
	"github.com/skiffcluster/skiff/api/apiserverinternal"
	"github.com/skiffcluster/skiff/api/apps"
	"github.com/skiffcluster/skiff/api/autoscaling"
	"github.com/skiffcluster/skiff/api/batch"
	"github.com/skiffcluster/skiff/api/certificates"
	"github.com/skiffcluster/skiff/api/coordination"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/discovery"
	"github.com/skiffcluster/skiff/api/events"
	"github.com/skiffcluster/skiff/api/flowcontrol"
	"github.com/skiffcluster/skiff/api/lifecycle"
	"github.com/skiffcluster/skiff/api/networking"
	"github.com/skiffcluster/skiff/api/node"
	"github.com/skiffcluster/skiff/api/policy"
	"github.com/skiffcluster/skiff/api/rbac"
	"github.com/skiffcluster/skiff/api/resource"
	"github.com/skiffcluster/skiff/api/scheduling"
	"github.com/skiffcluster/skiff/api/storage"
	"github.com/skiffcluster/skiff/api/storagemigration"
)

// Kinds are all kinds that are served, by group. Each call makes new values.
func Kinds() []*api.Kind {
	return slices.Concat(
		core.Kinds(),
		admissionregistration.Kinds(),
		apiregistration.Kinds(),
		apiserverinternal.Kinds(),
		apps.Kinds(),
		autoscaling.Kinds(),
		batch.Kinds(),
		certificates.Kinds(),
		coordination.Kinds(),
		discovery.Kinds(),
		events.Kinds(),
		flowcontrol.Kinds(),
		lifecycle.Kinds(),
		networking.Kinds(),
		node.Kinds(),
		policy.Kinds(),
		rbac.Kinds(),
		resource.Kinds(),
		scheduling.Kinds(),
		storage.Kinds(),
		storagemigration.Kinds(),
	)
}
