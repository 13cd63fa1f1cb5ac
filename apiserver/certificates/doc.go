// Package certificates has what only certificate signing requests have: they
// carry who asked, and are approved by a subresource of their own.
//
// Reads and writes CertificateSigningRequests. Start at Prepare.
package certificates
