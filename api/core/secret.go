package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api"
)

// Secret is the kind.
var Secret = api.Of[corev1.Secret]{
	Group: "", Version: "v1", Kind: "Secret", Resource: "secrets",
}
