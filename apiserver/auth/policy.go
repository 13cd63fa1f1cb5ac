package auth

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The roles that every cluster begins with are documented at
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings.
// Names, subjects and rights are those of Kubernetes: charts and people rely
// on them.

// Short names for the tables below.
const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = "create delete deletecollection get list patch update watch"
	all       = "*"
)

// on makes a rule from three lists of words; the core group is "core".
func on(groups, resources, verbs string) rbacv1.PolicyRule {
	g := strings.Fields(groups)
	for i := range g {
		if g[i] == "core" {
			g[i] = ""
		}
	}
	return rbacv1.PolicyRule{APIGroups: g, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = names
	return r
}

func urls(verbs string, paths ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: paths}
}

// events is what everybody needs who writes events.
var events = on("core events.k8s.io", "events", "create patch update")

// nodeRules are what every node agent may do, whichever its node; what it may
// read of other objects follows from its pods (see Nodes).
var nodeRules = []rbacv1.PolicyRule{
	on("authentication.k8s.io", "tokenreviews", "create"),
	on("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
	on("core", "services", read),
	on("core", "nodes", "create get list watch"),
	on("core", "nodes/status", "patch update"),
	on("core", "nodes", "patch update"),
	events,
	on("core", "pods", read),
	on("core", "pods", "create delete"),
	on("core", "pods/status", "patch update"),
	on("core", "pods/eviction", "create"),
	on("core", "persistentvolumes", "get"),
	on("core", "endpoints", "get"),
	on("discovery.k8s.io", "endpointslices", "get"),
	on("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
	on("certificates.k8s.io", "clustertrustbundles", read),
	on("certificates.k8s.io", "podcertificaterequests", "create get list watch"),
	on("coordination.k8s.io", "leases", "create delete get patch update"),
	on("storage.k8s.io", "volumeattachments", "get"),
	on("storage.k8s.io", "csidrivers", read),
	on("storage.k8s.io", "csinodes", "create delete get patch update"),
	on("node.k8s.io", "runtimeclasses", read),
	on("resource.k8s.io", "resourceclaims", "get"),
	on("resource.k8s.io", "resourceslices", readWrite),
}

// aggregate names the label that adds a role's rules to another's.
func aggregate(to string) string { return "rbac.authorization.k8s.io/aggregate-to-" + to }

// The rules of view, and what edit and admin add to them.
var (
	viewRules = []rbacv1.PolicyRule{
		on("core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status", read),
		on("core", "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status", read),
		on("core", "namespaces", read),
		on("core events.k8s.io", "events", read),
		on("discovery.k8s.io", "endpointslices", read),
		on("apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status", read),
		on("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", read),
		on("batch", "cronjobs cronjobs/status jobs jobs/status", read),
		on("extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale", read),
		on("policy", "poddisruptionbudgets poddisruptionbudgets/status", read),
		on("networking.k8s.io", "ingresses ingresses/status networkpolicies", read),
		on("resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates", read),
	}
	editRules = []rbacv1.PolicyRule{
		on("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", read),
		on("core", "serviceaccounts", "impersonate"),
		on("core", "pods pods/attach pods/exec pods/portforward pods/proxy", write),
		on("core", "pods/eviction", "create"),
		on("core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy", write),
		on("core", "serviceaccounts/token", "create"),
		on("core events.k8s.io", "events", write),
		on("apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale", write),
		on("autoscaling", "horizontalpodautoscalers", write),
		on("batch", "cronjobs jobs", write),
		on("extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale", write),
		on("policy", "poddisruptionbudgets", write),
		on("networking.k8s.io", "ingresses networkpolicies", write),
		on("coordination.k8s.io", "leases", readWrite),
		on("resource.k8s.io", "resourceclaims resourceclaimtemplates", write),
	}
	adminRules = []rbacv1.PolicyRule{
		on("authorization.k8s.io", "localsubjectaccessreviews", "create"),
		on("rbac.authorization.k8s.io", "rolebindings roles", readWrite),
	}
)

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: bootstrapMeta("", name), Rules: rules}
}

func labelled(r *rbacv1.ClusterRole, to string) *rbacv1.ClusterRole {
	r.Labels[aggregate(to)] = "true"
	return r
}

// aggregated gathers the rules of labelled roles; they are filled in from the
// start, and kept by the clusterrole-aggregation controller afterwards.
func aggregated(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := clusterRole(name, rules...)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregate(name): "true"}}}}
	return r
}

// bootstrapMeta marks an object as the server's: a server brings it up to date
// when it starts, unless the annotation is set to "false".
func bootstrapMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

// ClusterRoles are the cluster roles of a new cluster.
func ClusterRoles() []*rbacv1.ClusterRole {
	roles := []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", on(all, all, all), urls(all, all)),
		clusterRole("system:discovery", urls("get", "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/")),
		clusterRole("system:public-info-viewer", urls("get", "/healthz", "/livez", "/readyz", "/version", "/version/")),
		clusterRole("system:monitoring", urls("get", "/flagz", "/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*", "/statusz"),
			on("core", "nodes/metrics", "get")),
		clusterRole("system:basic-user",
			on("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
			on("authentication.k8s.io", "selfsubjectreviews", "create")),
		// In the order in which the controller gathers them.
		aggregated("admin", concat(editRules, viewRules, adminRules)...),
		labelled(aggregated("edit", concat(editRules, viewRules)...), "admin"),
		labelled(aggregated("view", viewRules...), "edit"),
		labelled(clusterRole("system:aggregate-to-admin", adminRules...), "admin"),
		labelled(clusterRole("system:aggregate-to-edit", editRules...), "edit"),
		labelled(clusterRole("system:aggregate-to-view", viewRules...), "view"),
		clusterRole("system:node", nodeRules...),
		clusterRole("system:node-problem-detector", on("core", "nodes", "get"), on("core", "nodes/status", "patch"), events),
		clusterRole("system:node-bootstrapper", on("certificates.k8s.io", "certificatesigningrequests", "create get list watch")),
		clusterRole("system:node-proxier", on("core", "endpoints services", "list watch"), on("core", "nodes", read), events,
			on("networking.k8s.io", "servicecidrs", "list watch"), on("discovery.k8s.io", "endpointslices", "list watch")),
		clusterRole("system:kubelet-api-admin", on("core", "nodes", read), on("core", "nodes", "proxy"),
			on("core", "nodes/log nodes/metrics nodes/proxy nodes/stats", all), on("core", "nodes/configz nodes/healthz nodes/pods", all)),
		clusterRole("system:auth-delegator", on("authentication.k8s.io", "tokenreviews", "create"), on("authorization.k8s.io", "subjectaccessreviews", "create")),
		clusterRole("system:service-account-issuer-discovery", urls("get", "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		clusterRole("system:cluster-trust-bundle-discovery", on("certificates.k8s.io", "clustertrustbundles", read)),
		clusterRole("system:heapster", on("core", "events namespaces nodes pods", read), on("extensions", "deployments", read)),
		clusterRole("system:kube-aggregator", on("core", "endpoints services", read)),
		clusterRole("system:kube-dns", on("core", "endpoints services", "list watch")),
		clusterRole("system:coredns", on("core", "endpoints namespaces pods services", "list watch"), on("core", "nodes", "get"), on("discovery.k8s.io", "endpointslices", "list watch")),
		clusterRole("system:kube-scheduler", schedulerRules...),
		clusterRole("system:volume-scheduler", on("core", "persistentvolumes", "get list patch update watch"), on("storage.k8s.io", "storageclasses", read),
			on("core", "persistentvolumeclaims", "get list patch update watch")),
		clusterRole("system:persistent-volume-provisioner", on("core", "persistentvolumes", "create delete get list watch"),
			on("core", "persistentvolumeclaims", "get list update watch"), on("storage.k8s.io", "storageclasses", read), on("core", "events", "watch"), events),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:nodeclient", on("certificates.k8s.io", "certificatesigningrequests/nodeclient", "create")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", on("certificates.k8s.io", "certificatesigningrequests/selfnodeclient", "create")),
		clusterRole("system:certificates.k8s.io:kube-apiserver-client-approver", named(on("certificates.k8s.io", "signers", "approve"), "kubernetes.io/kube-apiserver-client")),
		clusterRole("system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", named(on("certificates.k8s.io", "signers", "approve"), "kubernetes.io/kube-apiserver-client-kubelet")),
		clusterRole("system:certificates.k8s.io:kubelet-serving-approver", named(on("certificates.k8s.io", "signers", "approve"), "kubernetes.io/kubelet-serving")),
		clusterRole("system:certificates.k8s.io:legacy-unknown-approver", named(on("certificates.k8s.io", "signers", "approve"), "kubernetes.io/legacy-unknown")),
		clusterRole("system:kube-controller-manager", managerRules()...),
	}
	for _, c := range controllers {
		roles = append(roles, clusterRole("system:controller:"+c.name, c.rules...))
	}
	return roles
}

var schedulerRules = []rbacv1.PolicyRule{
	events,
	on("coordination.k8s.io", "leases", "create"),
	named(on("coordination.k8s.io", "leases", "get list update watch"), "kube-scheduler"),
	on("coordination.k8s.io", "leasecandidates", readWrite),
	on("core", "nodes", read),
	on("core", "pods", "delete get list watch"),
	on("core", "bindings pods/binding", "create"),
	on("core", "pods/status", "patch update"),
	on("core", "replicationcontrollers services", read),
	on("apps extensions", "replicasets", read),
	on("apps", "statefulsets", read),
	on("policy", "poddisruptionbudgets", read),
	on("core", "persistentvolumeclaims persistentvolumes", read),
	on("authentication.k8s.io", "tokenreviews", "create"),
	on("authorization.k8s.io", "subjectaccessreviews", "create"),
	on("storage.k8s.io", "csinodes", read),
	on("storage.k8s.io", "volumeattachments", read),
	on("core", "namespaces", read),
	on("storage.k8s.io", "csidrivers", read),
	on("storage.k8s.io", "csistoragecapacities", read),
	on("resource.k8s.io", "deviceclasses", read),
	on("resource.k8s.io", "resourceclaims", "get list patch update watch"),
	on("resource.k8s.io", "resourceclaims/status", "get list patch update watch"),
	on("core", "pods/finalizers", "update"),
	on("resource.k8s.io", "resourceslices", read),
	on("resource.k8s.io", "resourceclaims", "create delete"),
	on("resource.k8s.io", "devicetaintrules", read),
	on("resource.k8s.io", "resourceclaims/binding", "patch update"),
}

// controllers are the rights of each controller by name, as upstream gives
// them to one service account each.
var controllers = []struct {
	name  string
	rules []rbacv1.PolicyRule
}{
	{"attachdetach-controller", []rbacv1.PolicyRule{on("core", "persistentvolumeclaims persistentvolumes", "list watch"), on("core", "nodes", read), on("core", "nodes/status", "patch update"), on("core", "pods", "list watch"), events, on("storage.k8s.io", "volumeattachments", "create delete get list watch"), on("storage.k8s.io", "csidrivers", read), on("storage.k8s.io", "csinodes", read)}},
	{"certificate-controller", []rbacv1.PolicyRule{on("certificates.k8s.io", "certificatesigningrequests", "delete get list watch"), on("certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status", "update"), named(on("certificates.k8s.io", "signers", "approve"), "kubernetes.io/kube-apiserver-client-kubelet"), named(on("certificates.k8s.io", "signers", "sign"), "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown"), on("authorization.k8s.io", "subjectaccessreviews", "create"), events}},
	{"clusterrole-aggregation-controller", []rbacv1.PolicyRule{on("rbac.authorization.k8s.io", "clusterroles", "escalate get list patch update watch")}},
	{"cronjob-controller", []rbacv1.PolicyRule{on("batch", "cronjobs", "get list update watch"), on("batch", "jobs", "create delete get list patch update watch"), on("batch", "cronjobs/status", "update"), on("batch", "cronjobs/finalizers", "update"), on("core", "pods", "delete list watch"), events}},
	{"daemon-set-controller", []rbacv1.PolicyRule{on("apps extensions", "daemonsets", read), on("apps extensions", "daemonsets/status", "update"), on("apps extensions", "daemonsets/finalizers", "update"), on("core", "nodes", "list watch"), on("core", "pods", "create delete list patch watch"), on("core", "pods/binding", "create"), on("apps", "controllerrevisions", "create delete get list patch update watch"), events}},
	{"deployment-controller", []rbacv1.PolicyRule{on("apps extensions", "deployments", "get list update watch"), on("apps extensions", "deployments/status", "update"), on("apps extensions", "deployments/finalizers", "update"), on("apps extensions", "replicasets", "create delete get list patch update watch"), on("core", "pods", "get list update watch"), events}},
	{"device-taint-eviction-controller", []rbacv1.PolicyRule{on("core", "pods", "delete get list watch"), on("core", "pods/status", "patch update"), on("resource.k8s.io", "resourceclaims", read), on("resource.k8s.io", "resourceslices", read), on("resource.k8s.io", "deviceclasses", read), events, on("resource.k8s.io", "devicetaintrules/status", "patch update"), on("resource.k8s.io", "devicetaintrules", read)}},
	{"disruption-controller", []rbacv1.PolicyRule{on("apps extensions", "deployments", read), on("apps extensions", "replicasets", read), on("core", "replicationcontrollers", read), on("policy", "poddisruptionbudgets", read), on("apps", "statefulsets", read), on("policy", "poddisruptionbudgets/status", "update"), on("core", "pods/status", "patch update"), on(all, "*/scale", "get"), events}},
	{"endpoint-controller", []rbacv1.PolicyRule{on("core", "pods services", read), on("core", "endpoints", "create delete get list update watch"), on("core", "endpoints/restricted", "create"), events}},
	{"endpointslice-controller", []rbacv1.PolicyRule{on("core", "nodes pods services", read), on("core", "services/finalizers", "update"), on("discovery.k8s.io", "endpointslices", "create delete get list update watch"), events}},
	{"endpointslicemirroring-controller", []rbacv1.PolicyRule{on("core", "endpoints services", read), on("core", "services/finalizers", "update"), on("core", "endpoints/finalizers", "update"), on("discovery.k8s.io", "endpointslices", "create delete get list update watch"), events}},
	{"ephemeral-volume-controller", []rbacv1.PolicyRule{on("core", "pods", read), on("core", "pods/finalizers", "update"), on("core", "persistentvolumeclaims", "create get list watch"), events}},
	{"expand-controller", []rbacv1.PolicyRule{on("core", "persistentvolumes", "get list patch update watch"), on("core", "persistentvolumeclaims/status", "patch update"), on("core", "persistentvolumeclaims", read), events}},
	{"generic-garbage-collector", []rbacv1.PolicyRule{on(all, all, "delete get list patch update watch"), events}},
	{"horizontal-pod-autoscaler", []rbacv1.PolicyRule{on("autoscaling", "horizontalpodautoscalers", read), on("autoscaling", "horizontalpodautoscalers/status", "update"), on(all, "*/scale", "get update"), on("core", "pods", "list watch"), on("metrics.k8s.io", "pods", "list watch"), on("custom.metrics.k8s.io", all, read), on("external.metrics.k8s.io", all, read), events}},
	{"job-controller", []rbacv1.PolicyRule{on("batch", "jobs", "get list patch update watch"), on("batch", "jobs/status", "update"), on("batch", "jobs/finalizers", "update"), on("core", "pods", "create delete list patch watch"), events}},
	{"kube-apiserver-serving-clustertrustbundle-publisher", []rbacv1.PolicyRule{named(on("certificates.k8s.io", "signers", "attest"), "kubernetes.io/kube-apiserver-serving"), on("certificates.k8s.io", "clustertrustbundles", "create delete list update watch"), events}},
	{"legacy-service-account-token-cleaner", []rbacv1.PolicyRule{named(on("core", "configmaps", "get"), "kube-apiserver-legacy-service-account-token-tracking"), on("core", "secrets", "delete patch")}},
	{"namespace-controller", []rbacv1.PolicyRule{on("core", "namespaces", "delete get list watch"), on("core", "namespaces/finalize namespaces/status", "update"), on(all, all, "delete deletecollection get list watch")}},
	{"node-controller", []rbacv1.PolicyRule{on("core", "nodes", "delete get list patch update watch"), on("core", "nodes/status", "patch update"), on("core", "pods/status", "patch update"), on("core", "pods", "delete get list watch"), on("coordination.k8s.io", "leases", read), events}},
	{"persistent-volume-binder", []rbacv1.PolicyRule{on("core", "persistentvolumes", "create delete get list update watch"), on("core", "persistentvolumes/status", "update"), on("core", "persistentvolumeclaims", "get list update watch"), on("core", "persistentvolumeclaims/status", "update"), on("core", "pods", "create delete get list watch"), on("storage.k8s.io", "storageclasses", read), on("core", "nodes", "list watch"), events, on("core", "events", "watch")}},
	{"pod-garbage-collector", []rbacv1.PolicyRule{on("core", "pods", "delete list watch"), on("core", "nodes", read), on("core", "pods/status", "patch")}},
	{"podcertificaterequestcleaner", []rbacv1.PolicyRule{on("certificates.k8s.io", "podcertificaterequests", "delete get list watch")}},
	{"pv-protection-controller", []rbacv1.PolicyRule{on("core", "persistentvolumes", "get list update watch"), events}},
	{"pvc-protection-controller", []rbacv1.PolicyRule{on("core", "persistentvolumeclaims", "get list update watch"), on("core", "persistentvolumeclaims/status", "update"), on("core", "pods", read), events}},
	{"replicaset-controller", []rbacv1.PolicyRule{on("apps extensions", "replicasets", "get list update watch"), on("apps extensions", "replicasets/status", "update"), on("apps extensions", "replicasets/finalizers", "update"), on("core", "pods", "create delete list patch watch"), events}},
	{"replication-controller", []rbacv1.PolicyRule{on("core", "replicationcontrollers", "get list update watch"), on("core", "replicationcontrollers/status", "update"), on("core", "replicationcontrollers/finalizers", "update"), on("core", "pods", "create delete list patch watch"), events}},
	{"resource-claim-controller", []rbacv1.PolicyRule{on("core", "pods", read), on("core", "pods/finalizers", "update"), on("resource.k8s.io", "resourceclaims", "create delete get list watch"), on("resource.k8s.io", "resourceclaims resourceclaims/status", "patch update"), on("core", "pods/status", "patch update"), events, on("resource.k8s.io", "resourceclaims/binding", "patch update")}},
	{"resourcequota-controller", []rbacv1.PolicyRule{on(all, all, "list watch"), on("core", "resourcequotas/status", "update"), events}},
	{"root-ca-cert-publisher", []rbacv1.PolicyRule{on("core", "configmaps", "create update"), events}},
	{"route-controller", []rbacv1.PolicyRule{on("core", "nodes", "list watch"), on("core", "nodes/status", "patch"), events}},
	{"selinux-warning-controller", []rbacv1.PolicyRule{events, on("core", "persistentvolumes", read), on("core", "persistentvolumeclaims", read), on("core", "pods", read), on("storage.k8s.io", "csidrivers", read)}},
	{"service-account-controller", []rbacv1.PolicyRule{on("core", "serviceaccounts", "create"), events}},
	{"service-cidrs-controller", []rbacv1.PolicyRule{on("networking.k8s.io", "servicecidrs", "get list patch update watch"), on("networking.k8s.io", "servicecidrs/finalizers", "patch update"), on("networking.k8s.io", "servicecidrs/status", "patch update"), on("networking.k8s.io", "ipaddresses", read), events}},
	{"service-controller", []rbacv1.PolicyRule{on("core", "services", read), on("core", "services/status", "patch update"), on("core", "nodes", "list watch"), events}},
	{"statefulset-controller", []rbacv1.PolicyRule{on("core", "pods", "list watch"), on("apps", "statefulsets", read), on("apps", "statefulsets/status", "update"), on("apps", "statefulsets/finalizers", "update"), on("core", "pods", "create delete get patch update"), on("apps", "controllerrevisions", "create delete get list patch update watch"), on("core", "persistentvolumeclaims", "create get list watch"), on("core", "persistentvolumeclaims", "delete update"), on("core", "pods/finalizers", "update"), events}},
	{"storage-version-migrator-controller", []rbacv1.PolicyRule{on(all, all, "list patch"), on("apiextensions.k8s.io", "customresourcedefinitions", "get"), on("apiextensions.k8s.io", "customresourcedefinitions/status", "patch"), on("storagemigration.k8s.io", "storageversionmigrations/status", "update")}},
	{"ttl-after-finished-controller", []rbacv1.PolicyRule{on("batch", "jobs", "delete get list watch"), events}},
	{"ttl-controller", []rbacv1.PolicyRule{on("core", "nodes", "list patch update watch"), events}},
	{"validatingadmissionpolicy-status-controller", []rbacv1.PolicyRule{on("admissionregistration.k8s.io", "validatingadmissionpolicies", read), on("admissionregistration.k8s.io", "validatingadmissionpolicies/status", "get patch update"), events}},
	{"volumeattributesclass-protection-controller", []rbacv1.PolicyRule{on("core", "persistentvolumeclaims", read), on("core", "persistentvolumes", read), on("storage.k8s.io", "volumeattributesclasses", "get list update watch"), events}},
}

// managerRules are the rights of the one identity that our controllers share.
// Upstream can start each with a service account of its own; they are one
// process all the same, and what one of them may do all of them can.
func managerRules() []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		on("coordination.k8s.io", "leases", readWrite),
		on("core", "secrets serviceaccounts", "create delete get list patch update watch"),
		on("core", "serviceaccounts/token", "create"),
		on("core", "configmaps namespaces", read),
		on("authentication.k8s.io", "tokenreviews", "create"),
		on("authorization.k8s.io", "subjectaccessreviews", "create"),
		urls("get", "/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version"),
	}
	for _, c := range controllers {
		rules = append(rules, c.rules...)
	}
	return rules
}

// ClusterRoleBindings are the cluster role bindings of a new cluster.
func ClusterRoleBindings() []*rbacv1.ClusterRoleBinding {
	bindings := []*rbacv1.ClusterRoleBinding{
		bindCluster("cluster-admin", groupSubject("system:masters")),
		bindCluster("system:monitoring", groupSubject("system:monitoring")),
		bindCluster("system:discovery", groupSubject("system:authenticated")),
		bindCluster("system:basic-user", groupSubject("system:authenticated")),
		bindCluster("system:public-info-viewer", groupSubject("system:authenticated"), groupSubject("system:unauthenticated")),
		bindCluster("system:node-proxier", userSubject("system:kube-proxy")),
		bindCluster("system:kube-controller-manager", userSubject("system:kube-controller-manager")),
		bindCluster("system:kube-scheduler", userSubject("system:kube-scheduler")),
		bindCluster("system:volume-scheduler", userSubject("system:kube-scheduler")),
		bindCluster("system:kube-dns", account("kube-dns")),
		bindCluster("system:coredns", account("coredns"), userSubject("system:coredns")),
		bindCluster("system:service-account-issuer-discovery", groupSubject("system:serviceaccounts")),
		bindCluster("system:cluster-trust-bundle-discovery", groupSubject("system:serviceaccounts")),
		// Agents are authorized by Nodes; the binding exists without subjects.
		bindCluster("system:node"),
	}
	for _, c := range controllers {
		bindings = append(bindings, bindCluster("system:controller:"+c.name, account(c.name)))
	}
	return bindings
}

// Roles are the namespaced roles of a new cluster.
func Roles() []*rbacv1.Role {
	role := func(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: bootstrapMeta(namespace, name), Rules: rules}
	}
	return []*rbacv1.Role{
		role("kube-system", "extension-apiserver-authentication-reader", named(on("core", "configmaps", read), "extension-apiserver-authentication")),
		// Nodes answer DNS by it, and announce load-balancer addresses by leases.
		role("kube-system", "skiff:dns", named(on("core", "configmaps", read), "coredns")),
		role("kube-system", "skiff:announcer", on("coordination.k8s.io", "leases", "create get update")),
		role("kube-system", "system:controller:bootstrap-signer", on("core", "secrets", read)),
		role("kube-system", "system:controller:token-cleaner", on("core", "secrets", "delete get list watch"), events),
		role("kube-system", "system:controller:cloud-provider", on("core", "configmaps", "create get list watch")),
		role("kube-system", "system::leader-locking-kube-controller-manager", on("core", "configmaps", "watch"), named(on("core", "configmaps", "get update"), "kube-controller-manager")),
		role("kube-system", "system::leader-locking-kube-scheduler", on("core", "configmaps", "watch"), named(on("core", "configmaps", "get update"), "kube-scheduler")),
		role("kube-public", "system:controller:bootstrap-signer", on("core", "configmaps", read), named(on("core", "configmaps", "update"), "cluster-info"), events),
	}
}

// RoleBindings are the namespaced role bindings of a new cluster.
func RoleBindings() []*rbacv1.RoleBinding {
	bind := func(namespace, name string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: bootstrapMeta(namespace, name), Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}
	}
	reader := bind("kube-system", "extension-apiserver-authentication-reader", userSubject("system:kube-controller-manager"), userSubject("system:kube-scheduler"))
	reader.Name = "system::extension-apiserver-authentication-reader"
	return []*rbacv1.RoleBinding{
		reader,
		bind("kube-system", "skiff:dns", userSubject("system:coredns"), account("coredns"), groupSubject("system:nodes")),
		bind("kube-system", "skiff:announcer", userSubject("system:kube-proxy"), account("kube-proxy"), groupSubject("system:nodes")),
		bind("kube-system", "system:controller:bootstrap-signer", account("bootstrap-signer")),
		bind("kube-system", "system:controller:cloud-provider", account("cloud-provider")),
		bind("kube-system", "system:controller:token-cleaner", account("token-cleaner")),
		bind("kube-system", "system::leader-locking-kube-controller-manager", userSubject("system:kube-controller-manager"), account("kube-controller-manager")),
		bind("kube-system", "system::leader-locking-kube-scheduler", userSubject("system:kube-scheduler"), account("kube-scheduler")),
		bind("kube-public", "system:controller:bootstrap-signer", account("bootstrap-signer")),
	}
}

func bindCluster(role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: bootstrapMeta("", role), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
}

func groupSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func userSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "kube-system", Name: name}
}

func concat(lists ...[]rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
