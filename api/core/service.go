package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api"
)

// Service is the kind.
var Service = api.Of[corev1.Service]{
	Group: "", Version: "v1", Kind: "Service", Resource: "services",
	ShortNames: []string{"svc"},
	Categories: []string{"all"},
	Status:     &api.Status[corev1.Service]{},
}
