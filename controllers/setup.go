package controllers

import (
	"crypto"
	"fmt"

	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/endpoints"
	"github.com/skiffcluster/skiff/controllers/endpointslice"
	"github.com/skiffcluster/skiff/controllers/endpointslicemirroring"
	"github.com/skiffcluster/skiff/controllers/garbage"
	"github.com/skiffcluster/skiff/controllers/loadbalancer"
	"github.com/skiffcluster/skiff/controllers/namespace"
	"github.com/skiffcluster/skiff/controllers/node"
	"github.com/skiffcluster/skiff/controllers/nodeipam"
	"github.com/skiffcluster/skiff/controllers/podgc"
	"github.com/skiffcluster/skiff/controllers/rootca"
	"github.com/skiffcluster/skiff/controllers/serviceaccount"
	"github.com/skiffcluster/skiff/controllers/serviceaccounttoken"
	"github.com/skiffcluster/skiff/controllers/servicecidr"
	"github.com/skiffcluster/skiff/controllers/ttl"
)

func setUpNamespace(mgr ctrl.Manager, cfg Config) error {
	return (&namespace.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpGarbageCollector(mgr ctrl.Manager, cfg Config) error {
	return (&garbage.Reconciler{Clock: cfg.Clock, Filled: cfg.filled, Cached: cfg.cached.of}).SetupWithManager(mgr)
}

func setUpServiceAccount(mgr ctrl.Manager, _ Config) error {
	return (&serviceaccount.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpServiceAccountToken(mgr ctrl.Manager, cfg Config) error {
	if len(cfg.ServiceAccountKey) == 0 {
		klog.V(1).InfoS("Secrets of service accounts get no token: there is no key to sign it with")
		return nil
	}
	key, err := keyutil.ParsePrivateKeyPEM(cfg.ServiceAccountKey)
	if err != nil {
		return fmt.Errorf("parse the service account key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("parse the service account key: a key of type %T cannot sign", key)
	}
	return (&serviceaccounttoken.Reconciler{Client: mgr.GetClient(), SigningKey: signer, RootCA: cfg.RootCA}).SetupWithManager(mgr)
}

func setUpRootCA(mgr ctrl.Manager, cfg Config) error {
	if len(cfg.RootCA) == 0 {
		klog.V(1).InfoS("No root certificate is published: none is configured")
		return nil
	}
	return (&rootca.Reconciler{Client: mgr.GetClient(), RootCA: cfg.RootCA}).SetupWithManager(mgr)
}

func setUpEndpoints(mgr ctrl.Manager, cfg Config) error {
	return (&endpoints.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Concurrency: cfg.Concurrency}).SetupWithManager(mgr)
}

func setUpEndpointSlice(mgr ctrl.Manager, cfg Config) error {
	return (&endpointslice.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock, Concurrency: cfg.Concurrency}).SetupWithManager(mgr)
}

func setUpEndpointSliceMirroring(mgr ctrl.Manager, cfg Config) error {
	return (&endpointslicemirroring.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpLoadBalancer(mgr ctrl.Manager, cfg Config) error {
	return (&loadbalancer.Reconciler{Client: mgr.GetClient(), Pool: cfg.LoadBalancerPool}).SetupWithManager(mgr)
}

func setUpServiceCIDR(mgr ctrl.Manager, _ Config) error {
	return (&servicecidr.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr)
}

func setUpNodeIPAM(mgr ctrl.Manager, cfg Config) error {
	if !cfg.AllocateNodeCIDRs {
		return nil
	}
	return (&nodeipam.Reconciler{
		Client:       mgr.GetClient(),
		ClusterCIDR:  cfg.ClusterCIDR,
		ServiceRange: cfg.ServiceClusterIPRange,
		MaskSize:     cfg.NodeCIDRMaskSize,
		MaskSizeIPv6: cfg.NodeCIDRMaskSizeIPv6,
	}).SetupWithManager(mgr)
}

func setUpNode(mgr ctrl.Manager, cfg Config) error {
	return (&node.Reconciler{
		Client:             mgr.GetClient(),
		Clock:              cfg.Clock,
		MonitorPeriod:      cfg.NodeMonitorPeriod,
		GracePeriod:        cfg.NodeMonitorGracePeriod,
		StartupGracePeriod: cfg.NodeStartupGracePeriod,
		Rates: node.Rates{
			Normal:       cfg.NodeEvictionRate,
			Reduced:      cfg.SecondaryNodeEvictionRate,
			LargeCluster: cfg.LargeClusterSizeThreshold,
			Unhealthy:    cfg.UnhealthyZoneThreshold,
		},
	}).SetupWithManager(mgr)
}

func setUpTaintEviction(mgr ctrl.Manager, cfg Config) error {
	return (&node.Evictor{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpPodGC(mgr ctrl.Manager, cfg Config) error {
	return (&podgc.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}

func setUpTTL(mgr ctrl.Manager, cfg Config) error {
	return (&ttl.Reconciler{Client: mgr.GetClient(), Clock: cfg.Clock}).SetupWithManager(mgr)
}
