package controllers

import (
	"fmt"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"
)

// controller is one line of the list: a loop that can be switched on or off.
type controller struct {
	// name is the one that `--controllers` takes, upstream's.
	name string

	// alias is the short name that upstream still accepts.
	alias string

	// off controllers run only where they are named.
	off bool

	// setup adds the controller to a manager.
	setup func(mgr ctrl.Manager, cfg Config) error
}

// all returns every controller of the room, with what it makes of what.
func all() []controller {
	return []controller{
		// Workloads: what owns pods.
		{name: "deployment-controller", alias: "deployment", setup: setUpDeployment},                                 // a Deployment into ReplicaSets, one for each template
		{name: "replicaset-controller", alias: "replicaset", setup: setUpReplicaSet},                                 // a ReplicaSet into pods
		{name: "replicationcontroller-controller", alias: "replicationcontroller", setup: setUpReplication},          // the same for the kind of before
		{name: "daemonset-controller", alias: "daemonset", setup: setUpDaemonSet},                                    // a pod on each node
		{name: "statefulset-controller", alias: "statefulset", setup: setUpStatefulSet},                              // pods with names and claims of their own
		{name: "job-controller", alias: "job", setup: setUpJob},                                                      // pods that end
		{name: "cronjob-controller", alias: "cronjob", setup: setUpCronJob},                                          // Jobs by the clock
		{name: "ttl-after-finished-controller", alias: "ttl-after-finished", setup: setUpTTLAfterFinished},           // Jobs that have ended go
		{name: "horizontal-pod-autoscaler-controller", alias: "horizontalpodautoscaling", setup: setUpPodAutoscaler}, // as many pods as the metrics ask for

		// The cluster as a whole.
		{name: "namespace-controller", alias: "namespace", setup: setUpNamespace},                                         // a namespace that goes takes all with it
		{name: "garbage-collector-controller", alias: "garbagecollector", setup: setUpGarbageCollector},                   // what is owned goes with its owner
		{name: "serviceaccount-controller", alias: "serviceaccount", setup: setUpServiceAccount},                          // an account default in each namespace
		{name: "serviceaccount-token-controller", alias: "serviceaccount-token", setup: setUpServiceAccountToken},         // tokens in Secrets
		{name: "root-ca-certificate-publisher-controller", alias: "root-ca-cert-publisher", setup: setUpRootCA},           // the CA in each namespace
		{name: "endpoints-controller", alias: "endpoint", setup: setUpEndpoints},                                          // a Service's pods, in the kind of before
		{name: "endpointslice-controller", alias: "endpointslice", setup: setUpEndpointSlice},                             // a Service's pods
		{name: "endpointslice-mirroring-controller", alias: "endpointslicemirroring", setup: setUpEndpointSliceMirroring}, // Endpoints written by hand, as slices
		{name: "service-lb-controller", alias: "service", setup: setUpLoadBalancer},                                       // an address for each Service of type LoadBalancer
		{name: "service-cidr-controller", setup: setUpServiceCIDR},                                                        // which ranges give services addresses
		{name: "node-ipam-controller", alias: "nodeipam", setup: setUpNodeIPAM},                                           // networks of nodes
		{name: "node-lifecycle-controller", alias: "nodelifecycle", setup: setUpNode},                                     // silent nodes are tainted
		{name: "taint-eviction-controller", setup: setUpTaintEviction},                                                    // tainted nodes lose their pods
		{name: "pod-garbage-collector-controller", alias: "podgc", setup: setUpPodGC},                                     // pods that nobody else deletes go
		{name: "ttl-controller", alias: "ttl", setup: setUpTTL},                                                           // how long nodes keep what they read

		// What the API server admits, and whom.
		{name: "disruption-controller", alias: "disruption", setup: setUpDisruption},                                                        // how many pods of a budget may be evicted
		{name: "resourcequota-controller", alias: "resourcequota", setup: setUpResourceQuota},                                               // what a namespace uses
		{name: "clusterrole-aggregation-controller", alias: "clusterrole-aggregation", setup: setUpClusterRoleAggregation},                  // rules of roles gathered into others
		{name: "validatingadmissionpolicy-status-controller", alias: "validatingadmissionpolicy-status", setup: setUpAdmissionPolicyStatus}, // types in expressions
		{name: "certificatesigningrequest-approving-controller", alias: "csrapproving", setup: setUpApprover},                               // node agents' certificates are approved
		{name: "certificatesigningrequest-signing-controller", alias: "csrsigning", setup: setUpSigner},                                     // approved certificates are signed
		{name: "certificatesigningrequest-cleaner-controller", alias: "csrcleaner", setup: setUpCleaner},                                    // old requests go
		{name: "podcertificaterequest-cleaner-controller", setup: setUpPodCertificateCleaner},                                               // and those of pods
		{name: "storage-version-migrator-controller", setup: setUpStorageMigrator},                                                          // all objects of a resource are stored anew
		{name: "bootstrap-signer-controller", alias: "bootstrapsigner", off: true, setup: setUpBootstrapSigner},                             // cluster-info, signed by each token
		{name: "token-cleaner-controller", alias: "tokencleaner", off: true, setup: setUpTokenCleaner},                                      // expired tokens go

		// Persistent volumes.
		{name: "persistentvolume-binder-controller", alias: "persistentvolume-binder", setup: setUpVolumeBinder},    // claims get volumes
		{name: "persistentvolumeclaim-protection-controller", alias: "pvc-protection", setup: setUpClaimProtection}, // claims that pods use stay
		{name: "persistentvolume-protection-controller", alias: "pv-protection", setup: setUpVolumeProtection},      // volumes that claims use stay
		{name: "volumeattributesclass-protection-controller", setup: setUpClassProtection},                          // classes that claims or volumes name stay
		{name: "persistentvolume-attach-detach-controller", alias: "attachdetach", setup: setUpAttachDetach},        // volumes of CSI drivers on the nodes whose pods use them
		{name: "persistentvolume-expander-controller", alias: "persistentvolume-expander", setup: setUpExpander},    // claims that grow say who they wait for
		{name: "ephemeral-volume-controller", alias: "ephemeral-volume", setup: setUpEphemeralVolume},               // claims of pods' own volumes
	}
}

// Names returns the names of all controllers, as `--controllers` takes them.
func Names() []string {
	names := make([]string, 0, len(all()))
	for _, c := range all() {
		names = append(names, c.name)
	}
	return names
}

// choose returns the controllers that selection asks for. An entry is a name,
// "-" and a name to leave that one out, or "*" for all that are not named and
// not off by default; the first entry about a controller counts. No selection means "*".
// The rules are those of kube-controller-manager's flag.
func choose(list []controller, selection []string) ([]controller, error) {
	if len(selection) == 0 {
		selection = []string{"*"}
	}
	known := map[string]string{}
	for _, c := range list {
		known[c.name] = c.name
		if c.alias != "" {
			known[c.alias] = c.name
		}
	}
	wanted := map[string]bool{}
	star := false
	for _, entry := range selection {
		if entry == "*" {
			star = true
			continue
		}
		bare, isOff := strings.CutPrefix(entry, "-")
		name, ok := known[bare]
		if !ok {
			return nil, fmt.Errorf("%q is not in the list of known controllers", bare)
		}
		if _, decided := wanted[name]; !decided {
			wanted[name] = !isOff
		}
	}
	var chosen []controller
	for _, c := range list {
		on, decided := wanted[c.name]
		if on || (!decided && star && !c.off) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}
