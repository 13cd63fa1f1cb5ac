// Package secured serves what a component says of itself, as Kubernetes'
// controller manager and scheduler do on their --secure-port: /healthz, /livez
// and /readyz to everybody, /metrics to those who may get it by the API
// server's word.
//
// Reads TokenReviews and SubjectAccessReviews, which it asks the API server for;
// writes nothing. Start at Serve.
package secured
