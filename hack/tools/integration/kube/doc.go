// Package kube starts a server from kube-apiserver's options.
//
// Reads the options and the feature gates of a test; its server writes. Start
// at Start.
package kube
