package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api"
)

// ServiceAccount is the kind.
var ServiceAccount = api.Of[corev1.ServiceAccount]{
	Group: "", Version: "v1", Kind: "ServiceAccount", Resource: "serviceaccounts",
	ShortNames: []string{"sa"},
}
