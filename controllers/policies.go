package controllers

import (
	"fmt"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/admissionpolicystatus"
	"github.com/skiffcluster/skiff/controllers/bootstrap"
	"github.com/skiffcluster/skiff/controllers/certificates"
	"github.com/skiffcluster/skiff/controllers/clusterroleaggregation"
	"github.com/skiffcluster/skiff/controllers/disruption"
	"github.com/skiffcluster/skiff/controllers/resourcequota"
	"github.com/skiffcluster/skiff/controllers/storagemigration"
)

func setUpDisruption(mgr ctrl.Manager, cfg Config) error {
	return (&disruption.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Events: mgr.GetEventRecorder("controllermanager")}).SetupWithManager(mgr)
}

func setUpResourceQuota(mgr ctrl.Manager, _ Config) error {
	return (&resourcequota.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpClusterRoleAggregation(mgr ctrl.Manager, _ Config) error {
	return (&clusterroleaggregation.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpAdmissionPolicyStatus(mgr ctrl.Manager, _ Config) error {
	return (&admissionpolicystatus.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpApprover(mgr ctrl.Manager, _ Config) error {
	return (&certificates.Approver{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpSigner(mgr ctrl.Manager, cfg Config) error {
	if len(cfg.ClusterSigningCert) == 0 && len(cfg.ClusterSigningKey) == 0 {
		klog.V(1).InfoS("Certificate requests are not signed: there is no CA to sign with")
		return nil
	}
	ca, err := certificates.ParseAuthority(cfg.ClusterSigningCert, cfg.ClusterSigningKey)
	if err != nil {
		return fmt.Errorf("configure the signer: %w", err)
	}
	return (&certificates.Signer{Client: mgr.GetClient(), Clock: cfg.Clock, CA: ca, Duration: cfg.ClusterSigningDuration}).SetupWithManager(mgr)
}

func setUpCleaner(mgr ctrl.Manager, cfg Config) error {
	return (&certificates.Cleaner{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpPodCertificateCleaner(mgr ctrl.Manager, cfg Config) error {
	return (&certificates.PodCleaner{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpBootstrapSigner(mgr ctrl.Manager, cfg Config) error {
	return (&bootstrap.Signer{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpTokenCleaner(mgr ctrl.Manager, cfg Config) error {
	return (&bootstrap.Cleaner{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpStorageMigrator(mgr ctrl.Manager, cfg Config) error {
	return (&storagemigration.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}
