package environment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxEnvFile bounds what is read of an env file: 64 KiB, the kubelet's limit.
const maxEnvFile = 64 << 10

// fileKey gives the value of a variable in an env file of a volume.
func (b *builder) fileKey(ref *corev1.FileKeySelector) (string, bool, error) {
	id := ref.VolumeName + "\x00" + ref.Path
	variables, read := b.files[id]
	if !read {
		var err error
		variables, err = b.readFile(ref)
		if errors.Is(err, fs.ErrNotExist) && isTrue(ref.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		b.files[id] = variables
	}
	value, ok := variables[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return value, ok, nil
}

func (b *builder) readFile(ref *corev1.FileKeySelector) (map[string]string, error) {
	if b.in.VolumePath == nil {
		return nil, fmt.Errorf("fileKeyRef %q: this node keeps no volumes", ref.Path)
	}
	dir, err := b.in.VolumePath(ref.VolumeName)
	if err != nil {
		return nil, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef: %w", ref.VolumeName, err)
	}
	// The pod writes this file: a link in it must not lead out of its volume.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't open volume %q: %w", ref.VolumeName, err)
	}
	defer root.Close()
	f, err := root.Open(ref.Path)
	if err != nil {
		return nil, fmt.Errorf("couldn't parse env file: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't parse env file: %w", err)
	}
	if len(content) > maxEnvFile {
		return nil, fmt.Errorf("couldn't parse env file: %q is larger than %d bytes", ref.Path, maxEnvFile)
	}
	variables, err := parseEnvFile(string(content))
	if err != nil {
		return nil, fmt.Errorf("couldn't parse env file: %w", err)
	}
	return variables, nil
}

// parseEnvFile reads lines of the form NAME='value'. A value may span lines and
// has no escapes; blank lines and lines that begin with # are skipped.
func parseEnvFile(content string) (map[string]string, error) {
	variables := map[string]string{}
	line := 0
	for content != "" {
		line++
		text, rest, _ := strings.Cut(content, "\n")
		trimmed := strings.TrimSpace(text)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			content = rest
			continue
		}
		name, after, ok := strings.Cut(strings.TrimLeft(content, " \t"), "=")
		if !ok || strings.Contains(name, "\n") {
			return nil, fmt.Errorf("line %d: %q is not of the form NAME='value'", line, trimmed)
		}
		if problems := validation.IsRelaxedEnvVarName(name); len(problems) != 0 || strings.TrimSpace(name) != name {
			return nil, fmt.Errorf("line %d: invalid environment variable name %q", line, name)
		}
		after, ok = strings.CutPrefix(after, "'")
		if !ok {
			return nil, fmt.Errorf("line %d: the value of %s is not in single quotes", line, name)
		}
		value, after, ok := strings.Cut(after, "'")
		if !ok {
			return nil, fmt.Errorf("line %d: the value of %s has no closing quote", line, name)
		}
		tail, rest, _ := strings.Cut(after, "\n")
		if tail = strings.TrimSpace(tail); tail != "" && !strings.HasPrefix(tail, "#") {
			return nil, fmt.Errorf("line %d: unexpected %q after the value of %s", line, tail, name)
		}
		variables[name] = value
		line += strings.Count(value, "\n")
		content = rest
	}
	return variables, nil
}
