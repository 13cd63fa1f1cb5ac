// Package v1alpha1 is the first version of Website, which old clients still
// use.
//
// +kubebuilder:object:generate=true
// +groupName=web.example.com
package v1alpha1
