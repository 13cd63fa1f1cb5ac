package volume

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/skiffcluster/skiff/nodeagent/environment"
)

// file is one file of a volume whose content comes from the API.
type file struct {
	data []byte
	mode int32  // permission bits
	user *int64 // owner; nil is root
}

// files by their path in the volume.
type files map[string]file

// prepareContent makes the directory of a volume and writes its files.
func (v *Volumes) prepareContent(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	v.awaitCertificates(ctx, pod, volume)
	content, err := v.content(ctx, pod, volume)
	if err != nil {
		return err
	}
	dir, err := v.dir(pod.UID, volume)
	if err != nil {
		return err
	}
	if err := ensureDir(dir, 0o777); err != nil {
		return err
	}
	// A ConfigMap is no secret; all else is kept from the disk.
	if volume.ConfigMap == nil && !v.cfg.Unprivileged {
		if err := ensureTmpfs(dir, 0); err != nil {
			return err
		}
	}
	return v.write(dir, content, fsGroup(pod))
}

// content gives the files of a volume.
func (v *Volumes) content(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (files, error) {
	var sources []corev1.VolumeProjection
	mode := corev1.ConfigMapVolumeSourceDefaultMode
	defaultMode := func(m *int32) {
		if m != nil {
			mode = *m
		}
	}
	switch {
	case volume.ConfigMap != nil:
		s := volume.ConfigMap
		defaultMode(s.DefaultMode)
		sources = []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: s.LocalObjectReference, Items: s.Items, Optional: s.Optional,
		}}}
	case volume.Secret != nil:
		s := volume.Secret
		defaultMode(s.DefaultMode)
		sources = []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.SecretName}, Items: s.Items, Optional: s.Optional,
		}}}
	case volume.DownwardAPI != nil:
		s := volume.DownwardAPI
		defaultMode(s.DefaultMode)
		sources = []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: s.Items}}}
	case volume.Projected != nil:
		defaultMode(volume.Projected.DefaultMode)
		sources = volume.Projected.Sources
	}

	all := files{}
	var failed []error
	for i := range sources {
		var some files
		var err error
		if s := sources[i].PodCertificate; s != nil {
			some, err = v.certificateFiles(pod, volume.Name, i, s, mode)
		} else {
			some, err = v.project(ctx, pod, &sources[i], mode)
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for name, f := range some {
			if err := checkFileName(name); err != nil {
				failed = append(failed, err)
				continue
			}
			all[name] = f
		}
	}
	if len(failed) > 0 {
		return nil, utilerrors.NewAggregate(failed)
	}
	return all, nil
}

// project gives the files of one source.
func (v *Volumes) project(ctx context.Context, pod *corev1.Pod, s *corev1.VolumeProjection, mode int32) (files, error) {
	switch {
	case s.ConfigMap != nil:
		m, err := v.cfg.Objects.ConfigMap(ctx, pod.Namespace, s.ConfigMap.Name)
		if err != nil {
			if !apierrors.IsNotFound(err) || !isTrue(s.ConfigMap.Optional) {
				return nil, err
			}
			m = &corev1.ConfigMap{}
		}
		return selectFiles(configMapData(m), s.ConfigMap.Items, mode, isTrue(s.ConfigMap.Optional), "configmap references non-existent config key")

	case s.Secret != nil:
		o, err := v.cfg.Objects.Secret(ctx, pod.Namespace, s.Secret.Name)
		if err != nil {
			if !apierrors.IsNotFound(err) || !isTrue(s.Secret.Optional) {
				return nil, err
			}
			o = &corev1.Secret{}
		}
		return selectFiles(o.Data, s.Secret.Items, mode, isTrue(s.Secret.Optional), "references non-existent secret key")

	case s.DownwardAPI != nil:
		return downwardFiles(v.input(pod), s.DownwardAPI.Items, mode)

	case s.ServiceAccountToken != nil:
		token, err := v.tokens.get(ctx, pod, s.ServiceAccountToken)
		if err != nil {
			return nil, err
		}
		return files{s.ServiceAccountToken.Path: privateFile(pod, []byte(token), mode)}, nil

	case s.ClusterTrustBundle != nil:
		certificates, err := v.trustAnchors(ctx, s.ClusterTrustBundle)
		if err != nil {
			return nil, err
		}
		return files{s.ClusterTrustBundle.Path: privateFile(pod, certificates, mode)}, nil
	}
	return nil, errors.New("projected volume source has no content")
}

// input is what the downward API knows of a pod.
func (v *Volumes) input(pod *corev1.Pod) environment.Input {
	var in environment.Input
	if v.cfg.Input != nil {
		in = v.cfg.Input(pod)
	}
	in.Pod = pod
	return in
}

// configMapData gives all keys of a ConfigMap.
func configMapData(m *corev1.ConfigMap) map[string][]byte {
	data := make(map[string][]byte, len(m.Data)+len(m.BinaryData))
	for k, s := range m.Data {
		data[k] = []byte(s)
	}
	for k, b := range m.BinaryData {
		data[k] = b
	}
	return data
}

// selectFiles gives a file for each key, or with items for those named there.
func selectFiles(data map[string][]byte, items []corev1.KeyToPath, mode int32, optional bool, missing string) (files, error) {
	f := files{}
	if len(items) == 0 {
		for name, content := range data {
			f[name] = file{data: content, mode: mode}
		}
		return f, nil
	}
	for _, item := range items {
		content, ok := data[item.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, fmt.Errorf("%s: %s", missing, item.Key)
		}
		m := mode
		if item.Mode != nil {
			m = *item.Mode
		}
		f[item.Path] = file{data: content, mode: m}
	}
	return f, nil
}

// downwardFiles gives the files of the downward API.
func downwardFiles(in environment.Input, items []corev1.DownwardAPIVolumeFile, mode int32) (files, error) {
	f := files{}
	var failed []error
	for _, item := range items {
		m := mode
		if item.Mode != nil {
			m = *item.Mode
		}
		var (
			value string
			err   error
		)
		switch {
		case item.FieldRef != nil:
			value, err = environment.Field(in, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			c := environment.ContainerByName(in.Pod, item.ResourceFieldRef.ContainerName)
			if c == nil {
				err = fmt.Errorf("container %s not found", item.ResourceFieldRef.ContainerName)
				break
			}
			value, err = environment.Resource(item.ResourceFieldRef, in.Pod, c, in.Allocatable)
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		f[item.Path] = file{data: []byte(value), mode: m}
	}
	if len(failed) > 0 {
		return nil, utilerrors.NewAggregate(failed)
	}
	return f, nil
}

// privateFile is kept from others than the pod's user or group, where the pod
// has one.
func privateFile(pod *corev1.Pod, data []byte, mode int32) file {
	user := onlyUser(pod)
	if user != nil || fsGroup(pod) != nil {
		mode = 0o600 // which the group of the volume may read as well
	}
	return file{data: data, mode: mode, user: user}
}

// onlyUser is the user that all containers of a pod run as, nil if they differ
// or their images say it.
func onlyUser(pod *corev1.Pod) *int64 {
	var (
		user  *int64
		mixed bool
	)
	look := func(s *corev1.SecurityContext) {
		var u *int64
		if pod.Spec.SecurityContext != nil {
			u = pod.Spec.SecurityContext.RunAsUser
		}
		if s != nil && s.RunAsUser != nil {
			u = s.RunAsUser
		}
		switch {
		case u == nil, user != nil && *user != *u:
			mixed = true
		default:
			user = u
		}
	}
	for i := range pod.Spec.InitContainers {
		look(pod.Spec.InitContainers[i].SecurityContext)
	}
	for i := range pod.Spec.Containers {
		look(pod.Spec.Containers[i].SecurityContext)
	}
	for i := range pod.Spec.EphemeralContainers {
		look(pod.Spec.EphemeralContainers[i].SecurityContext)
	}
	if mixed {
		return nil
	}
	return user
}

// checkFileName refuses a path that leads out of its volume or takes the names
// that the writer needs for itself.
func checkFileName(name string) error {
	switch {
	case name == "":
		return errors.New("invalid path: must not be empty")
	case path.IsAbs(name):
		return fmt.Errorf("invalid path: %s must be relative", name)
	case len(name) > 4096:
		return fmt.Errorf("invalid path: must be less than or equal to %d characters", 4096)
	}
	for i, part := range strings.Split(name, "/") {
		if part == ".." {
			return errors.New("invalid path: must not contain '..'")
		}
		if i == 0 && strings.HasPrefix(part, "..") {
			return errors.New("invalid path: must not start with '..'")
		}
		if len(part) > 255 {
			return fmt.Errorf("invalid path: a part of it is longer than %d characters", 255)
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }
