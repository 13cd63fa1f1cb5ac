package controllers

import (
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/cronjob"
	"github.com/skiffcluster/skiff/controllers/daemonset"
	"github.com/skiffcluster/skiff/controllers/deployment"
	"github.com/skiffcluster/skiff/controllers/job"
	"github.com/skiffcluster/skiff/controllers/podautoscaler"
	"github.com/skiffcluster/skiff/controllers/replicaset"
	"github.com/skiffcluster/skiff/controllers/replication"
	"github.com/skiffcluster/skiff/controllers/statefulset"
	"github.com/skiffcluster/skiff/controllers/ttlafterfinished"
)

func setUpDeployment(mgr ctrl.Manager, cfg Config) error {
	return (&deployment.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("deployment-controller")}).SetupWithManager(mgr)
}

func setUpReplicaSet(mgr ctrl.Manager, cfg Config) error {
	return (&replicaset.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("replicaset-controller")}).SetupWithManager(mgr)
}

func setUpReplication(mgr ctrl.Manager, cfg Config) error {
	return (&replication.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("replication-controller")}).SetupWithManager(mgr)
}

func setUpDaemonSet(mgr ctrl.Manager, cfg Config) error {
	return (&daemonset.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("daemonset-controller")}).SetupWithManager(mgr)
}

func setUpStatefulSet(mgr ctrl.Manager, cfg Config) error {
	return (&statefulset.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("statefulset-controller")}).SetupWithManager(mgr)
}

func setUpCronJob(mgr ctrl.Manager, cfg Config) error {
	return (&cronjob.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("cronjob-controller")}).SetupWithManager(mgr)
}

func setUpJob(mgr ctrl.Manager, cfg Config) error {
	return (&job.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("job-controller")}).SetupWithManager(mgr)
}

func setUpTTLAfterFinished(mgr ctrl.Manager, cfg Config) error {
	return (&ttlafterfinished.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpPodAutoscaler(mgr ctrl.Manager, cfg Config) error {
	return (&podautoscaler.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("horizontal-pod-autoscaler")}).SetupWithManager(mgr)
}
