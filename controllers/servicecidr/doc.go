// Package servicecidr tells which ServiceCIDRs give addresses, and lets one go
// only when no service has an address of it.
//
// It reads ServiceCIDRs and IPAddresses and writes the finalizer
// networking.k8s.io/service-cidr-finalizer and the condition Ready of
// ServiceCIDRs. Start at reconciler.go; plan.go decides.
package servicecidr
