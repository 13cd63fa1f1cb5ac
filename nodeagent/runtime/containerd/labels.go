//go:build linux

package containerd

import (
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Labels say what a container is, so that nothing need be remembered
// elsewhere. The names with a dot-separated prefix other than ours are the
// kubelet's: tools look for them.
const (
	labelContainerName = "io.kubernetes.container.name"
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelSandbox       = "skiff.dev/sandbox"
	labelAttempt       = "skiff.dev/attempt"
	labelKind          = "skiff.dev/kind"
	labelHash          = "skiff.dev/hash"
	labelImageID       = "skiff.dev/image-id"
	labelMounted       = "skiff.dev/mounted-images"
	labelLogPath       = "skiff.dev/log-path"
	labelStdin         = "skiff.dev/stdin"
	labelTTY           = "skiff.dev/tty"
	labelStopSignal    = "skiff.dev/stop-signal"

	stdinOnce = "once"
	// Labels are limited to 4096 bytes, name and value together.
	maxLabel = 4096
)

// toLabels is the inverse of fromLabels.
func toLabels(c *runtime.Container, pod types.NamespacedName, stdin, once, tty bool) map[string]string {
	l := map[string]string{
		labelContainerName: c.Name,
		labelPodName:       pod.Name,
		labelPodNamespace:  pod.Namespace,
		labelPodUID:        string(c.PodUID),
		labelSandbox:       c.SandboxID,
		labelAttempt:       strconv.Itoa(c.Attempt),
		labelKind:          string(c.Kind),
		labelHash:          c.Hash,
		labelImageID:       c.ImageID,
		labelLogPath:       c.LogPath,
	}
	if len(c.Mounted) > 0 {
		l[labelMounted] = strings.Join(c.Mounted, " ")
	}
	if stdin {
		l[labelStdin] = "open"
		if once {
			l[labelStdin] = stdinOnce
		}
	}
	if tty {
		l[labelTTY] = "true"
	}
	for k, v := range l {
		if len(k)+len(v) > maxLabel {
			l[k] = v[:maxLabel-len(k)]
		}
	}
	return l
}

func fromLabels(rec *containers.Container) runtime.Container {
	l := rec.Labels
	attempt, _ := strconv.Atoi(l[labelAttempt]) // written by toLabels
	return runtime.Container{
		ID:        rec.ID,
		SandboxID: l[labelSandbox],
		PodUID:    types.UID(l[labelPodUID]),
		Name:      l[labelContainerName],
		Attempt:   attempt,
		Kind:      runtime.ContainerKind(l[labelKind]),
		Hash:      l[labelHash],
		Image:     rec.Image,
		ImageID:   l[labelImageID],
		Mounted:   strings.Fields(l[labelMounted]),
		LogPath:   l[labelLogPath],
		State:     runtime.Created,
		CreatedAt: rec.CreatedAt,
	}
}
