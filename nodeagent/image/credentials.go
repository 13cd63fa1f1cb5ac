package image

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// entry is one registry in a Docker configuration file.
type entry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"` // base64 of "username:password"
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Credentials picks from image pull secrets those for an image's registry, the
// most specific first.
func Credentials(image string, secrets []*corev1.Secret) ([]runtime.Credentials, error) {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return nil, fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	type match struct {
		length int
		creds  runtime.Credentials
	}
	var found []match
	for _, s := range secrets {
		entries, err := parse(s)
		if err != nil {
			return nil, fmt.Errorf("image pull secret %s/%s: %w", s.Namespace, s.Name, err)
		}
		for registry, e := range entries {
			if !matches(registry, named.Name()) {
				continue
			}
			creds := runtime.Credentials{Registry: registry, Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
			if e.Auth != "" {
				decoded, err := base64.StdEncoding.DecodeString(e.Auth)
				user, password, ok := strings.Cut(string(decoded), ":")
				if err != nil || !ok {
					return nil, fmt.Errorf("image pull secret %s/%s: auth of %q is not base64 of user:password", s.Namespace, s.Name, registry)
				}
				creds.Username, creds.Password = user, strings.TrimRight(password, "\x00")
			}
			found = append(found, match{len(registry), creds})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return b.length - a.length })
	var out []runtime.Credentials
	for _, m := range found {
		out = append(out, m.creds)
	}
	return out, nil
}

func parse(s *corev1.Secret) (map[string]entry, error) {
	if data, ok := s.Data[corev1.DockerConfigJsonKey]; ok {
		var file struct {
			Auths map[string]entry `json:"auths"`
		}
		if err := json.Unmarshal(data, &file); err != nil {
			return nil, err
		}
		return file.Auths, nil
	}
	entries := map[string]entry{}
	if data, ok := s.Data[corev1.DockerConfigKey]; ok {
		if err := json.Unmarshal(data, &entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// matches compares a registry, perhaps with a scheme, wildcards in its host and
// a path, with an image's name.
func matches(registry, image string) bool {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	host, prefix, _ := strings.Cut(registry, "/")
	if host == "index.docker.io" {
		host, prefix = "docker.io", "" // followed by /v1/ for historical reasons
	}
	imageHost, imagePath, _ := strings.Cut(image, "/")
	prefix = strings.Trim(prefix, "/")
	if prefix == "v1" || prefix == "v2" {
		prefix = ""
	}
	if prefix != "" && imagePath != prefix && !strings.HasPrefix(imagePath, prefix+"/") {
		return false
	}
	want, wantPort := split(host)
	got, gotPort := split(imageHost)
	if wantPort != gotPort || strings.Count(want, ".") != strings.Count(got, ".") {
		return false
	}
	ok, err := path.Match(want, got)
	return err == nil && ok
}

func split(host string) (name, port string) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		return h, p
	}
	return host, ""
}
