package admission

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	"k8s.io/apiserver/pkg/quota/v1/generic"

	"github.com/skiffcluster/skiff/internal/quota"
)

// evaluators is how many requests are counted at a time.
const evaluators = 5

// notCounted are not counted by quotas: events and reviews come and go.
var notCounted = func() map[schema.GroupResource]struct{} {
	m := map[schema.GroupResource]struct{}{
		{Resource: "bindings"}: {}, {Resource: "componentstatuses"}: {}, {Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {},
	}
	for _, gr := range reviews {
		m[gr] = struct{}{}
	}
	return m
}()

// newQuota keeps namespaces within their ResourceQuotas.
func newQuota(c Config) (admission.Interface, error) {
	build := func(c Config) (admission.Interface, error) {
		p, err := resourcequota.NewResourceQuota(nil, evaluators)
		if err != nil {
			return nil, err
		}
		quotas := c.Informers.Core().V1().ResourceQuotas().Informer()
		if err := fill(c, quotas); err != nil {
			return nil, err
		}
		p.SetDrainedNotification(c.Stop)
		p.SetExternalKubeClientSet(c.Client)
		p.SetExternalKubeInformerFactory(c.Informers)
		p.SetQuotaConfiguration(generic.NewConfiguration(quota.Evaluators(nil), notCounted))
		return p, p.ValidateInitialization()
	}
	return lazyValidation{newLazy(c, corev1.Resource("resourcequotas"), build, admission.Create, admission.Update)}, nil
}
