// Package endpoints keeps the older v1 Endpoints of every service that selects
// pods, for those who do not read EndpointSlices yet.
//
// It reads services, pods and Endpoints; it writes the Endpoints of services
// with a selector and deletes those whose service is gone. Endpoints of services
// without a selector are the users'. Start at reconciler.go; plan.go decides.
package endpoints
