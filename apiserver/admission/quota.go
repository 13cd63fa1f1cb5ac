package admission

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/util/retry"

	"github.com/skiffcluster/skiff/internal/quota"
)

// evaluators is how many requests are counted at a time.
const evaluators = 5

// notCounted are not counted by quotas: events and reviews come and go.
var notCounted = func() map[schema.GroupResource]struct{} {
	m := quota.Ignored()
	for _, gr := range reviews {
		m[gr] = struct{}{}
	}
	return m
}()

// newQuota keeps namespaces within their ResourceQuotas.
func newQuota(c Config) (admission.Interface, error) {
	limited, err := resourcequota.LoadConfiguration(c.configuration.reader("ResourceQuota"))
	if err != nil {
		return nil, err
	}
	build := func(c Config) (admission.Interface, error) {
		p, err := resourcequota.NewResourceQuota(limited, evaluators)
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
	l := newLazy(c, corev1.Resource("resourcequotas"), build, admission.Create, admission.Update)
	if len(limited.LimitedResources) > 0 {
		// These are refused where no quota lets them, so also without any.
		at := make(chan struct{})
		close(at)
		l.presence = Presence{Known: at, Some: at}
	}
	return patientQuota{lazyValidation{l}}, nil
}

// catchUp is the time for the cache of quotas to see one that was written:
// about 300 ms in all.
var catchUp = wait.Backoff{Duration: 5 * time.Millisecond, Factor: 2, Steps: 7, Jitter: 0.1}

// patientQuota counts again what could not be counted because somebody else,
// as the controller, has just written the quota. The plugin itself tries a few
// times at once, with what its cache has; nobody is served by a conflict on an
// object that is not theirs.
type patientQuota struct{ lazyValidation }

// Validate implements admission.ValidationInterface.
func (q patientQuota) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return retry.OnError(catchUp, func(err error) bool {
		var status apierrors.APIStatus
		return ctx.Err() == nil && apierrors.IsConflict(err) && errors.As(err, &status) &&
			status.Status().Details != nil && status.Status().Details.Kind == "resourcequotas"
	}, func() error { return q.lazyValidation.Validate(ctx, a, o) })
}
