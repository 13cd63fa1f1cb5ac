package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/internal/renewal"
)

// lead schedules whenever this scheduler holds the Lease. Having lost it, it
// competes again: its caches are still right.
func (s *Scheduler) lead(ctx context.Context) error {
	identity := s.cfg.Identity
	if identity == "" {
		identity = "skiff-scheduler_" + string(uuid.NewUUID())
	}
	// One request that hangs must not cost the lead.
	short := rest.CopyConfig(s.cfg.REST)
	short.Timeout = max(s.cfg.RenewDeadline/3, 300*time.Millisecond)
	leases, err := coordinationv1client.NewForConfig(short)
	if err != nil {
		return fmt.Errorf("scheduler: lease client: %w", err)
	}
	var term sync.Mutex
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &renewal.Lock{
				Interface: &resourcelock.LeaseLock{
					LeaseMeta:  metav1.ObjectMeta{Namespace: s.cfg.LeaseNamespace, Name: s.cfg.LeaseName},
					Client:     leases,
					LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
				},
				Every: renewal.Every(s.cfg.LeaseDuration, s.cfg.RenewDeadline, s.cfg.RetryPeriod), Clock: clock.RealClock{},
				Alone: s.cfg.Alone, Pause: renewal.AlonePause,
			},
			LeaseDuration:   s.cfg.LeaseDuration,
			RenewDeadline:   s.cfg.RenewDeadline,
			RetryPeriod:     s.cfg.RetryPeriod,
			ReleaseOnCancel: true,
			Name:            s.cfg.LeaseName,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					// The elector does not wait for this function; a term must
					// not begin before the last one's loop has ended.
					term.Lock()
					defer term.Unlock()
					s.loop(ctx)
				},
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return fmt.Errorf("scheduler: leader election: %w", err)
		}
		elector.Run(ctx)
	}
	term.Lock()
	defer term.Unlock()
	return nil
}
