// Package serve is the node's HTTPS API on 10250, as the API server and
// monitoring call it, and its health on 10248.
//
// Reads what its [Backend] gives; asks the API server who a caller is
// (TokenReview) and what it may do (SubjectAccessReview). Writes nothing.
// Start at [Server].
package serve
