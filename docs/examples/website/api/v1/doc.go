// Package v1 is the version of Website that is stored; the others convert to
// it.
//
// +kubebuilder:object:generate=true
// +groupName=web.example.com
package v1
