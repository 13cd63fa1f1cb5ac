// Package admission changes and checks objects between authorization and
// storage: what no kind can decide alone, because it depends on other objects
// or on who asks.
//
// One file holds one plugin of kube-apiserver, under its name there
// (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/);
// chain.go lists them in order.
//
// Reads namespaces, service accounts, priority classes and pods. Writes
// nothing of its own: it changes objects on their way to storage.
package admission
