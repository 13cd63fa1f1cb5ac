// Package admissionregistration says what is true of the kinds of
// admissionregistration.k8s.io: webhooks and policies that change and check
// objects on their way to storage.
//
// CEL expressions are checked by the API server, which has the compiler.
//
// Reads nothing, writes nothing. Start at kinds.go.
package admissionregistration
