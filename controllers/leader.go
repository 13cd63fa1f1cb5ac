package controllers

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/internal/renewal"
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-system,resources=leases,verbs=get;create;update

// leaderCallbacks is what a term tells the room.
type leaderCallbacks struct {
	started func()
	other   func(identity string)
}

// standAndLead stands for election until elected, leads until ctx ends or the
// lead is lost, and returns once the controllers have stopped. The Lease is
// given up last, after every controller has ended, so that no two act at once.
//
// controller-runtime's election is not used since it ends the process when
// the lead is lost, which a library inside somebody's process must not do.
func (c *Controllers) standAndLead(ctx context.Context) error {
	elected := make(chan struct{})
	elector, err := c.elector(leaderCallbacks{
		started: func() { close(elected) },
		other: func(identity string) {
			klog.FromContext(ctx).Info("Another instance leads", "identity", identity)
			c.setReady()
		},
	})
	if err != nil {
		return fmt.Errorf("configure leader election: %w", err)
	}

	holdCtx, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(holdCtx)
	}()

	select {
	case <-elected:
	case <-ended:
		return nil
	case <-ctx.Done():
		release()
		<-ended
		return nil
	}

	termCtx, endTerm := context.WithCancel(ctx)
	defer endTerm()
	go func() {
		select {
		case <-ended:
			endTerm()
		case <-termCtx.Done():
		}
	}()
	err = c.runControllers(termCtx)
	release()
	<-ended
	if err == nil && ctx.Err() == nil {
		klog.FromContext(ctx).Info("Lost the lead", "lease", klog.KRef(c.cfg.LeaseNamespace, c.cfg.LeaseName))
	}
	return err
}

// elector returns a candidate for the Lease.
func (c *Controllers) elector(callbacks leaderCallbacks) (*leaderelection.LeaderElector, error) {
	if c.cfg.LeaseDuration%time.Second != 0 {
		// A Lease holds whole seconds: others would take over while this one
		// still acts.
		return nil, fmt.Errorf("lease duration %s is not of whole seconds", c.cfg.LeaseDuration)
	}
	identity := c.cfg.Identity
	if identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("read host name: %w", err)
		}
		identity = host + "_" + string(uuid.NewUUID())
	}
	cfg := rest.AddUserAgent(rest.CopyConfig(c.cfg.REST), "leader-election")
	// One request that hangs must not cost the lead.
	cfg.Timeout = max(c.cfg.RenewDeadline/3, 300*time.Millisecond)
	leases, err := coordinationv1client.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("create lease client: %w", err)
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, c.cfg.LeaseNamespace, c.cfg.LeaseName,
		nil, leases, resourcelock.ResourceLockConfig{Identity: identity})
	if err != nil {
		return nil, fmt.Errorf("create lease lock: %w", err)
	}
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &renewal.Lock{
			Interface: lock, Every: renewal.Every(c.cfg.LeaseDuration, c.cfg.RenewDeadline, c.cfg.RetryPeriod),
			Clock: clock.RealClock{}, Alone: c.cfg.Alone, Pause: renewal.AlonePause,
		},
		LeaseDuration:   c.cfg.LeaseDuration,
		RenewDeadline:   c.cfg.RenewDeadline,
		RetryPeriod:     c.cfg.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            c.cfg.LeaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { callbacks.started() },
			OnStoppedLeading: func() {},
			OnNewLeader: func(leader string) {
				if leader != identity && leader != "" {
					callbacks.other(leader)
				}
			},
		},
	})
}
