package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/volume"
)

// prepareVolumes makes all volumes ready.
func (s *Steps) prepareVolumes(ctx context.Context, pod *corev1.Pod) error {
	if s.cfg.Volumes == nil {
		return nil
	}
	err := s.cfg.Volumes.Prepare(ctx, pod)
	if err != nil && ctx.Err() == nil {
		failures := volume.Failures(err)
		for _, f := range failures {
			s.warn(pod, "", "FailedMount", f.Message)
		}
		if len(failures) == 0 {
			s.warn(pod, "", "FailedMount", err.Error())
		}
	}
	return err
}

// TerminationLog is the file on the node where a container leaves its last
// message.
func TerminationLog(podDir, container string, attempt int) string {
	return filepath.Join(podDir, "containers", container, strconv.Itoa(attempt))
}

// files makes the files that every container gets: /etc/hosts, /etc/resolv.conf
// and the termination log.
func (s *Steps) files(pod *corev1.Pod, c *corev1.Container, attempt int, podIPs []string) ([]runtime.Mount, error) {
	if s.cfg.Volumes == nil {
		return nil, nil
	}
	dir := s.cfg.Volumes.PodDir(pod.UID)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make pod directory: %w", err)
	}
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[filepath.Clean(m.MountPath)] = true
	}
	var mounts []runtime.Mount
	add := func(target, file string, content []byte) error {
		if mounted[target] {
			return nil
		}
		if err := writeOnce(file, content); err != nil {
			return fmt.Errorf("write %s: %w", target, err)
		}
		mounts = append(mounts, runtime.Mount{Source: file, Target: target})
		return nil
	}
	hosts, err := s.hosts(pod, podIPs)
	if err != nil {
		return nil, err
	}
	if err := add("/etc/hosts", filepath.Join(dir, "etc-hosts"), hosts); err != nil {
		return nil, err
	}
	resolv, warnings, err := environment.ResolvConf(s.cfg.DNS(), pod)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		s.warn(pod, "", w.Reason, w.Message)
	}
	if err := add("/etc/resolv.conf", filepath.Join(dir, "resolv.conf"), resolv); err != nil {
		return nil, err
	}
	if path := c.TerminationMessagePath; path != "" && !mounted[filepath.Clean(path)] {
		file := TerminationLog(dir, c.Name, attempt)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			return nil, fmt.Errorf("make termination log: %w", err)
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return nil, fmt.Errorf("make termination log: %w", err)
		}
		// Every user of the container may write it, whatever the umask.
		if err := errors.Join(f.Chmod(0o666), f.Close()); err != nil {
			return nil, fmt.Errorf("make termination log: %w", err)
		}
		mounts = append(mounts, runtime.Mount{Source: file, Target: path})
	}
	return mounts, nil
}

// writeOnce leaves a file that is right alone: running containers have it
// mounted.
func writeOnce(file string, content []byte) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == string(content) {
		return nil
	}
	return os.WriteFile(file, content, 0o644)
}

func (s *Steps) hosts(pod *corev1.Pod, podIPs []string) ([]byte, error) {
	hostname, domain, err := environment.Hostname(pod, s.cfg.ClusterDomain)
	if err != nil {
		return nil, err
	}
	var node []byte
	if pod.Spec.HostNetwork {
		if node, err = os.ReadFile("/etc/hosts"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the node's hosts: %w", err)
		}
	}
	return environment.Hosts(pod, podIPs, hostname, domain, node), nil
}
