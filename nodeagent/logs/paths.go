package logs

import (
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
)

// Dir is where the logs of a pod are, below the root of all logs.
func Dir(root, namespace, name string, uid types.UID) string {
	return filepath.Join(root, "pods", namespace+"_"+name+"_"+string(uid))
}

// Path is the log of one attempt to run a container.
func Path(root, namespace, name string, uid types.UID, container string, attempt int) string {
	return filepath.Join(Dir(root, namespace, name, uid), container, strconv.Itoa(attempt)+".log")
}
