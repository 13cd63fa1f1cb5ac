// Package admission changes and checks objects between authorization and
// storage: what no kind can decide alone, because it depends on other objects
// or on who asks.
//
// A file holds a plugin of kube-apiserver, or some small ones about one kind,
// under their names there
// (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/);
// chain.go lists them in order, configuration.go reads what a file says to them.
//
// Plugins that act on objects of some kind (webhooks, policies, quotas) are
// made when the first of those exists: lazy.go.
//
// Reads namespaces, service accounts, classes, limit ranges, quotas, pods and
// admission's own kinds; asks webhooks. Writes the status of quotas; apart from
// that it changes objects on their way to storage.
package admission
