// Package expressions checks that the CEL expressions of admission's kinds
// compile. Everything else about those kinds is checked in
// api/admissionregistration, which has no compiler.
//
// Reads nothing, writes nothing. Start at Attach.
package expressions
