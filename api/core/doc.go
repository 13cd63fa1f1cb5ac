// Package core says what is true of the kinds of the core group ("v1").
//
// podspec.go and its neighbours podspec_*.go hold what every kind with a pod
// template shares. Start at kinds.go.
package core
