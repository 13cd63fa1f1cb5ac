package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api"
)

// Namespace is the kind.
var Namespace = api.Of[corev1.Namespace]{
	Group: "", Version: "v1", Kind: "Namespace", Resource: "namespaces",
	ShortNames:    []string{"ns"},
	ClusterScoped: true,
	Status:        &api.Status[corev1.Namespace]{},
}
