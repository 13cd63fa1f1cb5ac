package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubectl/pkg/util/fieldpath"
)

func (s *podSpec) checkEnv(vars []corev1.EnvVar, fld *field.Path) {
	for i, v := range vars {
		p := fld.Index(i)
		if v.Name == "" {
			s.Required(p.Child("name"), "")
		} else {
			s.Messages(p.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))
		}
		if v.ValueFrom != nil {
			s.checkEnvSource(v, p.Child("valueFrom"))
		}
	}
}

// checkEnvSource checks where a variable's value comes from: one source, and
// no value beside it.
func (s *podSpec) checkEnvSource(v corev1.EnvVar, p *field.Path) {
	sources, from := 0, v.ValueFrom
	if r := from.FieldRef; r != nil {
		sources++
		s.checkFieldRef(r, envFields, p.Child("fieldRef"))
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		s.checkResourceRef(r, p.Child("resourceFieldRef"), false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		s.checkKeyRef(r.Name, r.Key, p.Child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		s.checkKeyRef(r.Name, r.Key, p.Child("secretKeyRef"))
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		s.checkFileRef(r, p.Child("fileKeyRef"))
	}
	switch {
	case sources == 0:
		s.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case v.Value != "":
		s.Invalid(p, "", "may not be specified when `value` is not empty")
	case sources > 1:
		s.Invalid(p, "", "may not have more than one field specified at a time")
	}
}

// checkKeyRef checks a reference to a key of a ConfigMap or a Secret.
func (s *podSpec) checkKeyRef(name, key string, p *field.Path) {
	s.Name(p.Child("name"), name, apivalidation.NameIsDNSSubdomain)
	if key == "" {
		s.Required(p.Child("key"), "")
		return
	}
	s.Messages(p.Child("key"), key, validation.IsConfigMapKey(key))
}

func (s *podSpec) checkFileRef(r *corev1.FileKeySelector, p *field.Path) {
	if r.Key == "" {
		s.Required(p.Child("key"), "")
	} else {
		s.Messages(p.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))
	}
	s.RequiredDNSLabel(p.Child("volumeName"), r.VolumeName)
	if r.Path == "" {
		s.Required(p.Child("path"), "")
	} else {
		s.checkNoBacksteps(p.Child("path"), r.Path)
	}
}

// checkEnvFileVolumes holds the volumes that variables are read from to
// emptyDir, the only sort that the agent may read files of.
func (s *podSpec) checkEnvFileVolumes(fld *field.Path) {
	emptyDirs := map[string]bool{}
	for _, v := range s.spec.Volumes {
		emptyDirs[v.Name] = v.EmptyDir != nil
	}
	for c, p := range containers(s.spec, fld) {
		for i, v := range c.Env {
			if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
				continue
			}
			name := v.ValueFrom.FileKeyRef.VolumeName
			at := p.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			if emptyDir, found := emptyDirs[name]; !found {
				s.NotFound(at, name)
			} else if !emptyDir {
				s.Invalid(at, name, "referenced volume must be of type emptyDir")
			}
		}
	}
}

func (s *podSpec) checkEnvFrom(sources []corev1.EnvFromSource, fld *field.Path) {
	for i, from := range sources {
		p := fld.Index(i)
		if from.Prefix != "" {
			s.Messages(p.Child("prefix"), from.Prefix, validation.IsRelaxedEnvVarName(from.Prefix))
		}
		n := 0
		if r := from.ConfigMapRef; r != nil {
			n++
			s.checkEnvFromName(r.Name, p.Child("configMapRef", "name"))
		}
		if r := from.SecretRef; r != nil {
			n++
			s.checkEnvFromName(r.Name, p.Child("secretRef", "name"))
		}
		switch {
		case n == 0:
			s.Invalid(fld, "", "must specify one of: `configMapRef` or `secretRef`")
		case n > 1:
			s.Invalid(fld, "", "may not have more than one field specified at a time")
		}
	}
}

func (s *podSpec) checkEnvFromName(name string, p *field.Path) {
	if name == "" {
		s.Required(p, "")
		return
	}
	s.Messages(p, name, apivalidation.NameIsDNSSubdomain(name, true))
}

// Fields of a pod that a variable (envFields) or a file (fileFields) may show
// (https://kubernetes.io/docs/concepts/workloads/pods/downward-api).
var (
	envFields = sets.New("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
	fileFields = sets.New("metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid")
	// podFields are all that exist; the others are refused as unknown rather
	// than as not supported in this place.
	podFields = envFields.Union(fileFields).Insert("spec.restartPolicy", "spec.schedulerName", "status.phase",
		"spec.terminationGracePeriodSeconds")
)

// checkFieldRef checks a reference to one of the pod's own fields.
func (s *podSpec) checkFieldRef(r *corev1.ObjectFieldSelector, allowed sets.Set[string], p *field.Path) {
	if r.APIVersion == "" {
		s.Required(p.Child("apiVersion"), "")
		return
	}
	if r.FieldPath == "" {
		s.Required(p.Child("fieldPath"), "")
		return
	}
	path, key, hasKey, err := splitFieldPath(r)
	switch {
	case err != nil:
		s.Invalidf(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: %v", err)
	case hasKey && path == "metadata.annotations":
		// The keys of annotations may have any case.
		s.QualifiedName(p, strings.ToLower(key))
	case hasKey:
		s.QualifiedName(p, key)
	case !allowed.Has(path):
		s.Errors.Add(field.ErrorList{field.NotSupported(p.Child("fieldPath"), path, sets.List(allowed))})
	}
}

// splitFieldPath takes metadata.labels['key'] apart; fields that pods do not
// have are errors.
func splitFieldPath(r *corev1.ObjectFieldSelector) (path, key string, hasKey bool, err error) {
	if r.APIVersion != "v1" {
		return "", "", false, fmt.Errorf("unsupported pod version: %s", r.APIVersion)
	}
	path, key, hasKey = fieldpath.SplitMaybeSubscriptedPath(r.FieldPath)
	switch {
	case hasKey && path != "metadata.annotations" && path != "metadata.labels":
		return "", "", false, fmt.Errorf("field label does not support subscript: %s", r.FieldPath)
	case !hasKey && path == "spec.host":
		// What clients of long ago called it.
		return "spec.nodeName", "", false, nil
	case !hasKey && !podFields.Has(path):
		return "", "", false, fmt.Errorf("field label not supported: %s", r.FieldPath)
	}
	return path, key, hasKey, nil
}

// containerResourceFields are the amounts of a container that can be shown;
// those of huge pages come by their page sizes.
var containerResourceFields = []string{
	"limits.cpu", "limits.ephemeral-storage", "limits.memory",
	"requests.cpu", "requests.ephemeral-storage", "requests.memory",
}

func isHugePagesField(name string) bool {
	return strings.HasPrefix(name, "limits.hugepages-") || strings.HasPrefix(name, "requests.hugepages-")
}

// checkResourceRef checks a reference to a container's request or limit. A
// file belongs to no container, so that it must name one.
func (s *podSpec) checkResourceRef(r *corev1.ResourceFieldSelector, p *field.Path, inFile bool) {
	known := sets.New(containerResourceFields...).Has(r.Resource) || isHugePagesField(r.Resource)
	switch {
	case inFile && r.ContainerName == "":
		s.Required(p.Child("containerName"), "")
	case r.Resource == "":
		s.Required(p.Child("resource"), "")
	case !known:
		s.Errors.Add(field.ErrorList{field.NotSupported(p.Child("resource"), r.Resource, containerResourceFields)})
	}
	s.checkDivisor(r, p.Child("divisor"))
}

var byteDivisors = sets.New("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")

// checkDivisor checks the unit that an amount is shown in.
func (s *podSpec) checkDivisor(r *corev1.ResourceFieldSelector, p *field.Path) {
	if r.Divisor.Cmp(resource.Quantity{}) == 0 {
		return
	}
	const ofBytes = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the %s resource"
	unit := r.Divisor.String()
	switch what := r.Resource; {
	case strings.HasSuffix(what, ".cpu"):
		if unit != "1m" && unit != "1" {
			s.Invalid(p, what, "only divisor's values 1m and 1 are supported with the cpu resource")
		}
	case byteDivisors.Has(unit):
	case strings.HasSuffix(what, ".memory"):
		s.Invalidf(p, what, ofBytes, "memory")
	case strings.HasSuffix(what, ".ephemeral-storage"):
		s.Invalidf(p, what, ofBytes, "local ephemeral storage")
	case isHugePagesField(what):
		s.Invalidf(p, what, ofBytes, "hugepages")
	}
}
