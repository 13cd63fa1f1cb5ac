// Package scheme makes the runtime.Scheme that the API server codes, defaults
// and converts objects with.
//
// The Go type that a kind's declaration works on is registered twice: under
// its own version and as the group's internal version. Converting between the
// two does nothing. Kinds that are served in a second form (the Event of
// events.k8s.io, alphas and betas) are converted when they go over the wire:
// field by field of the same name, or as forms.go says of the few whose
// versions differ in more.
//
// Reads the kinds of api/all, writes nothing. Start at scheme.go.
package scheme
