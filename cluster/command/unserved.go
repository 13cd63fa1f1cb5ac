package command

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/spf13/cobra"
)

// unserved are the flags of kube-apiserver and kube-controller-manager that
// `skiff server` does not have, with the reason that one who gives them is told.
var unserved = []struct {
	why   string
	flags []string
}{
	{"--enable-admission-plugins and --disable-admission-plugins are in its place", []string{"admission-control"}},
	{"privileged containers are allowed; PodSecurity, or an admission policy, refuses them", []string{"allow-privileged"}},
	{"ABAC is not served", []string{"authorization-policy-file"}},
	{"certificates are in the data directory, --data-dir", []string{"cert-dir"}},
	{"its feature is off on Kubernetes too", []string{
		"coordinated-leadership-lease-duration", "coordinated-leadership-renew-deadline", "coordinated-leadership-retry-period",
	}},
	{"all masters of a cluster are of one version, and behave as it does", []string{
		"emulated-version", "emulation-forward-compatible", "min-compatibility-version", "runtime-config-emulation-forward-compatible",
		"peer-advertise-ip", "peer-advertise-port", "peer-ca-file",
	}},
	{"the store's housekeeping is skiff's own, as its format and its one place for all kinds are", []string{
		"etcd-compaction-interval", "etcd-count-metric-poll-period", "etcd-db-metric-poll-interval", "etcd-healthcheck-timeout",
		"etcd-readycheck-timeout", "etcd-servers-overrides", "lease-reuse-duration-seconds", "storage-backend",
		"storage-initialization-timeout", "storage-media-type",
	}},
	{"objects are always collected with their owners; --controllers=*,-garbage-collector-controller leaves the collector out", []string{"enable-garbage-collector"}},
	{"the server shows no files of its machine", []string{"enable-logs-handler"}},
	{"the log is text on standard error, as much of it as -v says", []string{
		"log-flush-frequency", "log-json-info-buffer-size", "log-json-split-stream", "log-text-info-buffer-size", "log-text-split-stream",
		"logging-format", "vmodule",
	}},
	{"every master keeps its own address among the endpoints of the service kubernetes, which has a cluster IP", []string{
		"endpoint-reconciler-type", "kubernetes-service-node-port",
	}},
	{"node agents are asked at the first of their addresses, for as long as the client waits", []string{
		"kubelet-preferred-address-types", "kubelet-timeout",
	}},
	{"tokens are good while their account and what they are bound to exist, for as long as was asked for, and signed by a key of this process", []string{
		"service-account-extend-token-expiration", "service-account-lookup", "service-account-signing-endpoint",
	}},
	{"a stop ends watches at once and waits 5 s for other requests", []string{
		"shutdown-delay-duration", "shutdown-send-retry-after", "shutdown-watch-termination-grace-period", "controller-shutdown-timeout",
	}},
	{"a port is listened on by one process", []string{"permit-address-sharing", "permit-port-sharing"}},
	{"it is not served yet", []string{
		"aggregator-reject-forwarding-redirect", "debug-socket-path", "egress-selector-config-file", "max-connection-bytes-per-sec", "tracing-config-file",
	}},
	{"`skiff version` says it", []string{"version"}},

	{"each controller works on 5 objects at a time; `skiff controllers --concurrency` says another number", []string{
		"concurrent-cron-job-syncs", "concurrent-daemonset-syncs", "concurrent-deployment-syncs", "concurrent-device-taint-eviction-syncs",
		"concurrent-disruption-syncs", "concurrent-endpoint-syncs", "concurrent-ephemeralvolume-syncs", "concurrent-gc-syncs",
		"concurrent-horizontal-pod-autoscaler-syncs", "concurrent-job-syncs", "concurrent-namespace-syncs", "concurrent-rc-syncs",
		"concurrent-replicaset-syncs", "concurrent-resource-quota-syncs", "concurrent-resourceclaim-syncs", "concurrent-service-endpoint-syncs",
		"concurrent-serviceaccount-token-syncs", "concurrent-statefulset-syncs", "concurrent-ttl-after-finished-syncs",
		"concurrent-validating-admission-policy-status-syncs", "mirroring-concurrent-service-endpoint-syncs",
	}},
	{"there are no cloud providers, and no routes but the nodes' own", []string{
		"cidr-allocator-type", "cloud-config", "cloud-provider", "cluster-name", "configure-cloud-routes", "external-cloud-volume-plugin", "route-reconciliation-period",
	}},
	{"the cluster's own CA and keys sign; `skiff controllers` takes others", []string{
		"cluster-signing-cert-file", "cluster-signing-duration", "cluster-signing-key-file",
		"cluster-signing-kube-apiserver-client-cert-file", "cluster-signing-kube-apiserver-client-key-file",
		"cluster-signing-kubelet-client-cert-file", "cluster-signing-kubelet-client-key-file",
		"cluster-signing-kubelet-serving-cert-file", "cluster-signing-kubelet-serving-key-file",
		"cluster-signing-legacy-unknown-cert-file", "cluster-signing-legacy-unknown-key-file",
		"root-ca-file", "service-account-private-key-file",
	}},
	{"the rooms of this process elect their leaders by Leases of fixed names; `skiff controllers` has flags for that", []string{
		"enable-leader-migration", "leader-elect", "leader-elect-resource-lock", "leader-elect-resource-name", "leader-elect-resource-namespace", "leader-migration-config",
	}},
	{"controllers reach the API server in this process, each with rights of its own", []string{
		"authentication-kubeconfig", "authentication-skip-lookup", "authentication-tolerate-lookup-failure", "authorization-always-allow-paths",
		"authorization-kubeconfig", "kube-api-burst", "kube-api-content-type", "kube-api-qps", "master", "use-service-account-credentials",
	}},
	{"controllers act when something changes, with Kubernetes' default times and sizes", []string{
		"attach-detach-reconcile-sync-period", "controller-start-interval", "disable-attach-detach-reconcile-sync", "disable-force-detach-on-timeout",
		"endpoint-updates-batch-period", "endpointslice-updates-batch-period", "horizontal-pod-autoscaler-cpu-initialization-period",
		"horizontal-pod-autoscaler-downscale-stabilization", "horizontal-pod-autoscaler-initial-readiness-delay", "horizontal-pod-autoscaler-sync-period",
		"horizontal-pod-autoscaler-tolerance", "legacy-service-account-token-clean-up-period", "max-endpoints-per-slice", "min-resync-period",
		"mirroring-endpointslice-updates-batch-period", "mirroring-max-endpoints-per-subset", "namespace-sync-period", "pvclaimbinder-sync-period",
		"resource-quota-sync-period", "terminated-pod-gc-threshold",
	}},
	{"volumes are CSI drivers' or the user's own", []string{
		"enable-dynamic-provisioning", "enable-hostpath-provisioner", "flex-volume-plugin-dir", "pv-recycler-increment-timeout-nfs",
		"pv-recycler-minimum-timeout-hostpath", "pv-recycler-minimum-timeout-nfs", "pv-recycler-pod-template-filepath-hostpath",
		"pv-recycler-pod-template-filepath-nfs", "pv-recycler-timeout-increment-hostpath",
	}},
}

// whyUnserved is empty for a flag that is none of Kubernetes'.
func whyUnserved(flag string) string {
	for _, u := range unserved {
		if slices.Contains(u.flags, flag) {
			return u.why
		}
	}
	return ""
}

var unknownFlag = regexp.MustCompile(`^unknown flag: --(\S+)$`)

// explainUnserved tells one who gives a flag of Kubernetes why there is none.
func explainUnserved(_ *cobra.Command, err error) error {
	if m := unknownFlag.FindStringSubmatch(err.Error()); m != nil {
		if why := whyUnserved(m[1]); why != "" {
			err = fmt.Errorf("%w: skiff does not have Kubernetes' flag: %s", err, why)
		}
	}
	return usageError{err}
}
