package node_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/node"
)

func TestRuntimeClass(t *testing.T) {
	c := &nodev1.RuntimeClass{Handler: "runc"}
	kindtest.Errors(t, node.RuntimeClass.Validate(c))
	other := &nodev1.RuntimeClass{Handler: "Kata"}
	kindtest.Errors(t, node.RuntimeClass.ValidateCreate(other), `handler: Invalid value: "Kata": a lowercase RFC 1123 label`)
	long := &nodev1.RuntimeClass{Handler: strings.Repeat("a", 64)}
	kindtest.Errors(t, node.RuntimeClass.ValidateCreate(long), `handler: Invalid value: "`+long.Handler+`": must be no more than 63 bytes`)
	kindtest.Errors(t, node.RuntimeClass.ValidateUpdate(long, long), `handler: Invalid value: "`+long.Handler+`": must be no more than 63 characters`)
	kindtest.Errors(t, node.RuntimeClass.ValidateUpdate(other, c), `handler: Invalid value: "Kata": a lowercase RFC 1123 label`, `handler: Invalid value: null: field is immutable`)
	kindtest.Errors(t, node.RuntimeClass.ValidateCreate(&nodev1.RuntimeClass{}), `handler: Required value`)
	kindtest.Errors(t, node.RuntimeClass.ValidateUpdate(&nodev1.RuntimeClass{}, c), `handler: Invalid value: null: field is immutable`, `handler: Required value`)
	once := corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists}
	c.Scheduling = &nodev1.Scheduling{Tolerations: []corev1.Toleration{once, once}}
	kindtest.Errors(t, node.RuntimeClass.Validate(c), "scheduling.tolerations[1]: Duplicate value")
}
