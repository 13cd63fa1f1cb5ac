package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api"
)

// ConfigMap is the kind.
var ConfigMap = api.Of[corev1.ConfigMap]{
	Group: "", Version: "v1", Kind: "ConfigMap", Resource: "configmaps",
	ShortNames: []string{"cm"},
}
