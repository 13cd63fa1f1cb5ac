// Package resource says what is true of the kinds of resource.k8s.io: devices
// that drivers offer (ResourceSlice, DeviceClass, DeviceTaintRule) and what
// claims them for pods (ResourceClaim, ResourceClaimTemplate).
//
// Reads nothing, writes nothing. Start at kinds.go.
package resource
