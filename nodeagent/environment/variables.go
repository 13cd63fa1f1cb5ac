package environment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Objects gives the ConfigMaps and Secrets that pods of this node name. An
// object that is not there is an error for which apierrors.IsNotFound holds.
// volume/objects.Cache is one.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Input is what the variables of one container are computed from.
type Input struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	// PodIPs and HostIPs are what status.podIPs and status.hostIPs are or will
	// be; the first is the primary one.
	PodIPs, HostIPs []string
	// Allocatable of the node stands in for limits that are not set.
	Allocatable corev1.ResourceList
	// Services of the pod's namespace, and the Service "kubernetes" of
	// "default". Others are ignored.
	Services []*corev1.Service
	// VolumePath gives the directory of a prepared volume, for fileKeyRef. Nil
	// where pods have no files.
	VolumePath func(volume string) (string, error)
}

// Warning is an event of the pod that does not keep the container from
// running.
type Warning struct{ Reason, Message string }

// InvalidNames is the reason of the event for keys of an envFrom that are no
// names of variables.
const InvalidNames = "InvalidEnvironmentVariableNames"

// Variables gives the environment of a container, "NAME=value", sorted by name.
// An error's text is the message of a container that waits with reason
// CreateContainerConfigError.
//
// What is stronger replaces what is weaker: env, then envFrom (later entries
// first), then the variables of services.
func Variables(ctx context.Context, objects Objects, in Input) ([]string, []Warning, error) {
	b := builder{
		objects:  objects,
		in:       in,
		own:      map[string]string{},
		services: serviceVariables(in),
		files:    map[string]map[string]string{},
	}
	for i := range in.Container.EnvFrom {
		if err := b.addFrom(ctx, &in.Container.EnvFrom[i]); err != nil {
			return nil, nil, err
		}
	}
	for i := range in.Container.Env {
		if err := b.add(ctx, &in.Container.Env[i]); err != nil {
			return nil, nil, err
		}
	}
	all := b.services
	maps.Copy(all, b.own)
	env := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env, b.warnings, nil
}

// Map is the form of env in which single variables are looked up.
func Map(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		m[name] = value
	}
	return m
}

// builder collects the variables of one container.
type builder struct {
	objects  Objects
	in       Input
	own      map[string]string            // from env and envFrom
	services map[string]string            // from services
	files    map[string]map[string]string // variables by volume and path of an env file
	warnings []Warning
}

// lookup is what $(NAME) in an env value means: only variables that are
// defined before it count.
func (b *builder) lookup(name string) (string, bool) {
	if v, ok := b.own[name]; ok {
		return v, true
	}
	v, ok := b.services[name]
	return v, ok
}

func (b *builder) addFrom(ctx context.Context, from *corev1.EnvFromSource) error {
	namespace := b.in.Pod.Namespace
	switch {
	case from.ConfigMapRef != nil:
		ref := from.ConfigMapRef
		m, err := b.objects.ConfigMap(ctx, namespace, ref.Name)
		if err != nil {
			return ignoreMissing(err, ref.Optional)
		}
		b.addAll(from.Prefix, m.Data, "configMap", ref.Name)
	case from.SecretRef != nil:
		ref := from.SecretRef
		s, err := b.objects.Secret(ctx, namespace, ref.Name)
		if err != nil {
			return ignoreMissing(err, ref.Optional)
		}
		data := make(map[string]string, len(s.Data))
		for k, v := range s.Data {
			data[k] = string(v)
		}
		b.addAll(from.Prefix, data, "secret", ref.Name)
	}
	return nil
}

// addAll adds all keys of an object, except those that can't be the name of a
// variable: any printable ASCII without "=" can.
func (b *builder) addAll(prefix string, data map[string]string, kind, name string) {
	var invalid []string
	for k, v := range data {
		k = prefix + k
		if len(validation.IsRelaxedEnvVarName(k)) != 0 {
			invalid = append(invalid, k)
			continue
		}
		b.own[k] = v
	}
	if len(invalid) == 0 {
		return
	}
	slices.Sort(invalid)
	b.warnings = append(b.warnings, Warning{
		Reason: InvalidNames,
		Message: fmt.Sprintf("Keys [%s] from the EnvFrom %s %s/%s were skipped since they are considered invalid environment variable names.",
			strings.Join(invalid, ", "), kind, b.in.Pod.Namespace, name),
	})
}

func (b *builder) add(ctx context.Context, v *corev1.EnvVar) error {
	if v.Value != "" || v.ValueFrom == nil {
		b.own[v.Name] = Expand(v.Value, b.lookup)
		return nil
	}
	value, ok, err := b.valueFrom(ctx, v.ValueFrom)
	if err != nil {
		return err
	}
	if ok {
		b.own[v.Name] = value
	}
	return nil
}

// valueFrom gives the value of a reference; false for an optional one that is
// not there.
func (b *builder) valueFrom(ctx context.Context, from *corev1.EnvVarSource) (string, bool, error) {
	namespace := b.in.Pod.Namespace
	switch {
	case from.FieldRef != nil:
		value, err := Field(b.in, from.FieldRef.FieldPath)
		return value, err == nil, err

	case from.ResourceFieldRef != nil:
		c := b.in.Container
		if name := from.ResourceFieldRef.ContainerName; name != "" {
			if c = ContainerByName(b.in.Pod, name); c == nil {
				return "", false, fmt.Errorf("container %s not found", name)
			}
		}
		value, err := Resource(from.ResourceFieldRef, b.in.Pod, c, b.in.Allocatable)
		return value, err == nil, err

	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		m, err := b.objects.ConfigMap(ctx, namespace, ref.Name)
		if err != nil {
			return "", false, ignoreMissing(err, ref.Optional)
		}
		value, ok := m.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, namespace, ref.Name)
		}
		return value, ok, nil

	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := b.objects.Secret(ctx, namespace, ref.Name)
		if err != nil {
			return "", false, ignoreMissing(err, ref.Optional)
		}
		value, ok := s.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name)
		}
		return string(value), ok, nil

	case from.FileKeyRef != nil:
		return b.fileKey(from.FileKeyRef)
	}
	return "", false, nil
}

// ignoreMissing drops the error of an optional object that is not there.
func ignoreMissing(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && isTrue(optional) {
		return nil
	}
	return err
}

func isTrue(b *bool) bool { return b != nil && *b }

// ContainerByName gives a container of any kind in the pod, or nil.
func ContainerByName(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		}
	}
	return nil
}
