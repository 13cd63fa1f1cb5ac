package admission

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"sigs.k8s.io/yaml"
)

// configuration is what an AdmissionConfiguration says to plugins, by name.
type configuration map[string][]byte

// readConfiguration reads --admission-control-config-file. What a plugin is told
// by a path is read from there, relative to the file.
func readConfiguration(file string) (configuration, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nothing is said to any plugin
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("unable to read admission control configuration from %q [%w]", file, err)
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	obj, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), raw)
	if err != nil {
		return nil, fmt.Errorf("admission control configuration %s: %w", file, err)
	}
	said, ok := obj.(*apiserver.AdmissionConfiguration)
	if !ok {
		return nil, fmt.Errorf("admission control configuration %s is a %T", file, obj)
	}
	out := configuration{}
	for _, p := range said.Plugins {
		switch {
		case p.Configuration != nil:
			out[p.Name] = p.Configuration.Raw
		case p.Path != "":
			path := p.Path
			if !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(file), path)
			}
			if out[p.Name], err = os.ReadFile(path); err != nil {
				return nil, fmt.Errorf("configuration of admission plugin %s: %w", p.Name, err)
			}
		}
	}
	return out, nil
}

// has says whether something is said to a plugin.
func (c configuration) has(plugin string) bool {
	_, ok := c[plugin]
	return ok
}

// reader is what is said to a plugin in the form in which the library's plugins
// read it, nil when nothing is.
func (c configuration) reader(plugin string) io.Reader {
	if raw, ok := c[plugin]; ok {
		return bytes.NewReader(raw)
	}
	return nil
}

// into decodes what is said to a plugin, all of whose fields must be known. With
// an apiVersion it is an object of that version and kind Configuration.
func (c configuration) into(plugin, apiVersion string, v any) error {
	raw, ok := c[plugin]
	if !ok {
		return nil
	}
	if apiVersion != "" {
		var is metav1.TypeMeta
		if err := yaml.Unmarshal(raw, &is); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		if is.APIVersion != apiVersion || is.Kind != "Configuration" {
			return fmt.Errorf("configuration is of %s, kind %q, not of %s, kind Configuration", is.APIVersion, is.Kind, apiVersion)
		}
	}
	if err := yaml.UnmarshalStrict(raw, v); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}
