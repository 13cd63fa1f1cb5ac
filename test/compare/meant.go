package main

import "regexp"

// meant is a difference that is known. An entry that nothing differs by any
// more is an error.
type meant struct {
	subject, what, difference string // regular expressions
	why                       string

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
		{subject: "APIService", difference: `"skiff", upstream "kube-apiserver"`, why: "the manager is the program's name"},
		{subject: "IPAddress", difference: `skiff.dev/service-uid`, why: "the address of a service that was made again is not taken for its own"},
		{subject: "IPAddress", difference: `\.cells: `, why: "Kubernetes prints an age that no column is for"},
		{subject: "DaemonSet", what: "as a table", difference: "metadata.annotations", why: "Kubernetes leaves an annotation out of tables that the object has"},
		{what: `/(log|exec|attach|portforward|proxy)$`, subject: " (Pod|Node|Service) ", why: "nodes are reached in another way"},
		{subject: "^documents$", difference: `storageVersionHash`, why: "young kinds are stored in their newest version"},
		{subject: "^documents$", difference: `x-kubernetes-group-version-kind`, why: "documents share the definitions of what is in every group"},
		{subject: "VolumeAttributesClass", difference: `finalizers|vac-protection|deletion|DELETE`, why: "not yet: no controller would remove the finalizer vac-protection"},
		{what: `generateName|metadata = null|^create `, difference: `generateName|metadata.name: `, why: "not yet: some kinds look at generateName on updates too, some never"},
	}
}
