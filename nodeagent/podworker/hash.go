package podworker

import (
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Hash tells whether a container runs what the spec says. As the kubelet's, it
// covers the name and the image only: nothing else of a running pod's container
// can be changed that needs a restart.
func Hash(c *corev1.Container) string {
	h := fnv.New32a()
	h.Write([]byte(c.Name + "\x00" + c.Image))
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}
