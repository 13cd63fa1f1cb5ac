// Package admissionpolicystatus checks the types in the expressions of each
// ValidatingAdmissionPolicy and reports what does not fit.
//
// It reads policies and the schemas that the API server publishes; it writes a
// policy's status. Start at reconciler.go.
package admissionpolicystatus
