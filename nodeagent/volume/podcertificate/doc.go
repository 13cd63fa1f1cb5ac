// Package podcertificate gets the certificates that pods mount: it makes a key,
// asks a signer by a PodCertificateRequest, and renews what was issued.
//
// Reads ServiceAccounts and the answers to its requests; writes
// PodCertificateRequests. Keys are in memory only: an agent that starts again
// asks anew. Start at [Issuer].
package podcertificate
