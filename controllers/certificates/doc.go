// Package certificates answers CertificateSigningRequests: it approves those of
// node agents that may have what they ask for, signs what is approved for one
// of the kubernetes.io signers with the cluster's CA, and deletes what is old.
//
// It reads requests and asks the API server who may do what; it writes the
// condition Approved (approve.go), status.certificate and the condition Failed
// (sign.go), and deletes requests (clean.go), those for pods' certificates too
// (cleanpods.go). request.go says what a node agent's certificate may hold.
package certificates
