package validate

import "k8s.io/apimachinery/pkg/api/validate/content"

// PathSegment checks a name that need only fit between two slashes of a path,
// as those of RBAC objects; prefix says that something will be added to it.
func PathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
