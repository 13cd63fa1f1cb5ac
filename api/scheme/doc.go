// Package scheme makes the runtime.Scheme that the API server codes, defaults
// and converts objects with.
//
// Every Go type of k8s.io/api is registered twice: under its own version and
// as the group's internal version. Objects are worked on in the type that
// goes over the wire, so converting between the two does nothing. The few
// kinds that have a second form (the Event of events.k8s.io, the
// HorizontalPodAutoscaler of autoscaling/v1) have conversion functions.
//
// Reads the kinds of api/all, writes nothing. Start at scheme.go.
package scheme
