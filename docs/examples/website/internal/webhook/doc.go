// Package webhook defaults and checks Websites before they are stored.
//
// Reads and writes the objects of admission requests. Start at Setup.
//
// +kubebuilder:webhookconfiguration:mutating=true,name=website-mutating
// +kubebuilder:webhookconfiguration:mutating=false,name=website-validating
package webhook
