package controllers

import (
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/attachdetach"
	"github.com/skiffcluster/skiff/controllers/ephemeralvolume"
	"github.com/skiffcluster/skiff/controllers/expand"
	"github.com/skiffcluster/skiff/controllers/persistentvolume"
	"github.com/skiffcluster/skiff/controllers/volumeprotection"
)

func setUpVolumeBinder(mgr ctrl.Manager, _ Config) error {
	return (&persistentvolume.Reconciler{Client: mgr.GetClient(), Events: mgr.GetEventRecorder("persistentvolume-controller")}).SetupWithManager(mgr)
}

func setUpClaimProtection(mgr ctrl.Manager, _ Config) error {
	return (&volumeprotection.Claims{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpVolumeProtection(mgr ctrl.Manager, _ Config) error {
	return (&volumeprotection.Volumes{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpClassProtection(mgr ctrl.Manager, _ Config) error {
	return (&volumeprotection.Classes{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpEphemeralVolume(mgr ctrl.Manager, _ Config) error {
	return (&ephemeralvolume.Reconciler{Client: mgr.GetClient(), Events: mgr.GetEventRecorder("ephemeral_volume")}).SetupWithManager(mgr)
}

func setUpAttachDetach(mgr ctrl.Manager, cfg Config) error {
	return (&attachdetach.Reconciler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder("attachdetach-controller"), Clock: cfg.Clock,
		MaxWaitForUnmount: cfg.MaxWaitForUnmount, NoForceDetach: cfg.DisableForceDetachOnTimeout,
	}).SetupWithManager(mgr)
}

func setUpExpander(mgr ctrl.Manager, _ Config) error {
	return (&expand.Reconciler{Client: mgr.GetClient(), Events: mgr.GetEventRecorder("volume_expand")}).SetupWithManager(mgr)
}
