package main

import "regexp"

// meant is a difference that is known. An entry that nothing differs by any
// more is an error.
type meant struct {
	subject, what, difference string // regular expressions
	why                       string
	wide                      bool // of the further objects alone
	sometimes                 bool // it need not be seen

	seen bool
}

func (m meant) matches(subject, what string, d difference) bool {
	return match(m.subject, subject) && match(m.what, what) && match(m.difference, d.String())
}

func match(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// intended are the differences that are there on purpose, and why.
func intended() []meant {
	return []meant{
		{difference: `StorageError: invalid object`, why: "keys in etcd have the group, so that two groups may have a resource of one name"},
		{what: `^GET .*/(apiservices|clusterroles|clusterrolebindings|flowschemas|prioritylevelconfigurations|servicecidrs)( |$|\?)`, difference: `managedFields|system:controller:`, why: "the server's own objects have no managers, and controllers have the rights that ours use"},
		{subject: "FlowSchema|PriorityLevel|ServiceCIDR|ClusterRole", what: `^DELETE collection`, difference: `managedFields|system:controller:`, why: "the same objects, in what a deletion answers"},
		{subject: "ClusterRole", difference: `\.items\.(admin|edit|view)\.rules: `, why: "roles that gather others' rules have them from the beginning; upstream a controller fills them, which is not compared"},
		{subject: "ClusterRole", difference: `items\.system:(kube-controller-manager|node)\.rules: `, why: "controllers share one identity; what agents may, the node authorizer decides, and nobody is bound to the role"},
		{subject: "ClusterRole", difference: `system:coredns|remainingItemCount`, why: "DNS is a part of the cluster, and has its role from the beginning"},
		{subject: "APIService", difference: `details\.causes: `, why: "Kubernetes tells each fault of its metadata twice"},
		{subject: "WebhookConfiguration", difference: `generation|Generation`, why: "Kubernetes counts an apply that changes nothing as a change"},
		{subject: " Pod ", what: "^POST /binding", difference: `upstream "500 target\.|core\.Binding`, why: "faults of bindings are internal errors there, and types are Kubernetes' own", wide: true},
		{subject: " Pod ", what: `runtimeClassName = ""`, difference: `upstream "500 resource name may not be empty"`, why: "an empty name of a class is an internal error there", wide: true},
		{subject: " Job ", what: "/spec/completions", difference: `when completion mode is Indexed`, why: "Kubernetes panics when a job with a success policy has no completions", wide: true},
		{subject: "WebhookConfiguration", difference: `clientConfig\.service\.(name|namespace): Required`, why: "Kubernetes names the one when the other is missing", wide: true},
		{subject: "ReplicationController", difference: `terminationGracePeriodSeconds: must be >= 0`, why: "Kubernetes warns of the template that an update replaces, instead of the new one"},
		{subject: "CSIDriver", difference: `supported values: ."Persistent.", ."Ephemeral."`, why: "Kubernetes lists the modes in another order when it tells of updates"},
		{subject: " Service ", difference: `[nN]odePort`, why: "dry runs of Kubernetes do not look at the range of node ports, and what is twice is an internal error there"},
		{subject: "PodCertificateRequest", what: `metadata\.namespace`, difference: `field label not supported`, why: "Kubernetes does not select this kind by namespaces, as it does all others"},
		{subject: "StorageVersionMigration", difference: `Name\.format`, why: "Kubernetes does not say of the column that it is the name"},
		{subject: "IPAddress", difference: `skiff.dev/service-uid`, why: "the address of a service that was made again is not taken for its own"},
		{subject: "IPAddress", difference: `\.cells: `, why: "Kubernetes prints an age that no column is for"},
		{subject: "DaemonSet", what: "as a table", difference: "metadata.annotations", why: "Kubernetes leaves an annotation out of tables that the object has"},
		{what: `/(log|exec|attach|portforward|proxy)$`, subject: " (Pod|Node|Service) ", why: "nodes are reached in another way"},
		{subject: "^documents$", what: "^GET /apis $", difference: `serverAddressByClientCIDRs|^\.apiVersion`, why: "the list of groups is the library's, which tells each one's address; upstream its aggregator writes another"},
		{subject: "^documents$", difference: `storageVersionHash`, why: "young kinds are stored in their newest version"},
		{subject: "^documents$", difference: `x-kubernetes-group-version-kind`, why: "documents share the definitions of what is in every group"},
		{subject: " Service ", difference: `10\.98\.0\.0`, why: "dry runs of Kubernetes look at one of several ranges, by chance", wide: true, sometimes: true},
		{subject: " Binding ", difference: `upstream "500 target\.|bindings ..*not found.*pods`, why: "faults of bindings are internal errors there, and what was asked for is named as the pod", wide: true},
		{subject: " Binding ", what: "metadata/(labels|annotations)", difference: `upstream "201"`, why: "Kubernetes gives pods the labels of bindings unchecked", wide: true},
		{subject: " Pod ", what: "^DELETE|^GET what was deleted", difference: `observedGeneration: 1, upstream nothing`, why: "the condition of a binding says of which generation it is, as the others do", wide: true},
		{subject: " Pod ", what: "^POST /eviction", difference: `upstream "500 Non-matching dry-run options`, why: "faults of evictions are internal errors there", wide: true},
		{subject: "SubjectAccessReview", difference: `\.status\.reason: nothing, upstream "RBAC: allowed by ClusterRoleBinding ."system:public-info-viewer`, why: "health is open to everybody before RBAC is asked", wide: true},
		{subject: "CustomResourceDefinition", what: "^DELETE .propagationPolicy", difference: `managedFields|InstanceDeletionPending|deletion will begin`, why: "one of the two may have begun to delete its objects already", sometimes: true},
		{subject: "CustomResourceDefinition", what: "^GET what was deleted", difference: `^code: "(404 .*upstream "200"|200", upstream "404)`, why: "one of the two may have deleted its objects, and then itself, already", sometimes: true},
		{subject: " ResourceSlice ", difference: `^message: .*capacity\[cores\].*capacity\[memory\].* upstream .*capacity\[memory\].*capacity\[cores\]`, why: "Kubernetes tells of a device's capacities in a random order", wide: true, sometimes: true},
		{subject: " LimitRange ", what: "^kubectl describe", difference: `^\[\d+\]: "(Container|Pod|PersistentVolumeClaim) +(cpu|memory|storage|ephemeral-storage) .* upstream "(Container|Pod|PersistentVolumeClaim) +(cpu|memory|storage|ephemeral-storage) `, why: "kubectl prints the resources of a limit in a random order", wide: true, sometimes: true},
		{subject: "^protocol$", what: `^[A-Z]+ /apis(/apps)?/?( |$|\?)`, why: "upstream its aggregator writes the list of groups, whatever the method, in forms of its own"},
		{subject: "^protocol$", what: "^GET /version/ ", why: "the program's own version"},
		{subject: "^protocol$", what: "resourceVersionMatch=Exact", difference: `[rR]etry-?[aA]fter`, why: "exact versions are read from etcd, which does not say when to try again"},
		{subject: "^protocol$", what: "^GET /openapi/v3$", difference: `header\.Content-Type`, why: "Kubernetes calls its JSON text"},
		{subject: "^protocol$", difference: `core\.ConfigMap`, why: "types are Kubernetes' own"},
		{subject: "^protocol$", what: "services/nothing/proxy", difference: `upstream "?503`, why: "a service that there is not is not found"},
		{subject: "^protocol$", what: "/bindings", difference: `upstream "500 target\.`, why: "faults of bindings are internal errors there"},
		{subject: "^protocol$", what: "componentstatuses", difference: `items\.(controller-manager|scheduler)`, why: "components are looked for by their Leases"},
		{subject: "^protocol$", what: "/openid/v1/jwks/", why: "Kubernetes takes the path with a slash at its end too"},
		{subject: "^protocol$", what: "GET /metrics", difference: `serviceaccount_(legacy|stale|valid)_tokens_total`, why: "not yet: tokens of service accounts are not counted"},
		{subject: "^protocol$", what: "GET /metrics", difference: `apiserver_storage_size_bytes`, why: "not yet: the size of the store is told by etcd's own metrics alone"},
		{what: `generateName|metadata = null|^create `, difference: `generateName|metadata.name: `, why: "not yet: some kinds look at generateName on updates too, some never"},
	}
}
