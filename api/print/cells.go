package print

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
)

// None is printed where a value is optional and not there.
const None = "<none>"

// Unknown is printed where a value should be there and is not.
const Unknown = "<unknown>"

// metaDoc describes the columns that come from metadata, as clients show them.
var metaDoc = metav1.ObjectMeta{}.SwaggerDoc()

// NameDoc describes the name column.
func NameDoc() string { return metaDoc["name"] }

// AgeDoc describes the age column.
func AgeDoc() string { return metaDoc["creationTimestamp"] }

// OrNone is the value, or <none> when it is empty.
func OrNone(value string) string { return or(value, None) }

// OrUnknown is the value, or <unknown> when it is empty.
func OrUnknown(value string) string { return or(value, Unknown) }

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// Since is how long ago t was, in words: "5m".
func Since(t metav1.Time) string {
	if t.IsZero() {
		return Unknown
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// ContainerNames joins the names of containers.
func ContainerNames(containers []corev1.Container) string {
	return join(containers, func(c corev1.Container) string { return c.Name })
}

// ContainerImages joins the images of containers.
func ContainerImages(containers []corev1.Container) string {
	return join(containers, func(c corev1.Container) string { return c.Image })
}

func join(containers []corev1.Container, of func(corev1.Container) string) string {
	parts := make([]string, len(containers))
	for i, c := range containers {
		parts[i] = of(c)
	}
	return strings.Join(parts, ",")
}

// KindName is how another object is named: "statefulset.apps/web".
func KindName(kind schema.GroupKind, name string) string {
	if kind.Empty() {
		return name
	}
	return strings.ToLower(kind.String()) + "/" + name
}
