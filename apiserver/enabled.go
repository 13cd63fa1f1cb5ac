package apiserver

import (
	"errors"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/server/resourceconfig"
	serverstorage "k8s.io/apiserver/pkg/server/storage"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/apiserver/reviews"
)

// enable decides by Config.RuntimeConfig which versions of kinds are served:
// stable ones unless switched off, alphas and betas when switched on. It gives
// the kinds that need storage: a stable kind that is not served is still read
// by the server itself.
func (s *Server) enable(t *types, kinds []*api.Kind) (_ []*api.Kind, err error) {
	config := withCoreNames(s.config.RuntimeConfig)
	o := options.APIEnablementOptions{RuntimeConfig: config}
	if errs := o.Validate(t.scheme, apiextensions.Scheme); len(errs) > 0 {
		return nil, fmt.Errorf("--runtime-config: %w", errors.Join(errs...))
	}
	defaults := serverstorage.NewResourceConfig()
	for _, k := range kinds {
		if k.Prerelease() {
			defaults.DisableVersions(k.GVK.GroupVersion())
		} else {
			defaults.EnableVersions(k.GVK.GroupVersion())
		}
	}
	for gv := range reviews.New(reviews.Deps{}) {
		defaults.EnableVersions(gv)
	}
	if s.enabled, err = resourceconfig.MergeAPIResourceConfigs(defaults, config, t.scheme); err != nil {
		return nil, fmt.Errorf("--runtime-config: %w", err)
	}
	definitions, err := resourceconfig.MergeAPIResourceConfigs(apiextensions.DefaultAPIResourceConfigSource(), config, apiextensions.Scheme)
	if err != nil {
		return nil, fmt.Errorf("--runtime-config: %w", err)
	}
	if !definitions.ResourceEnabled(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")) {
		return nil, fmt.Errorf("API group/version %s must be enabled", apiextensionsv1.SchemeGroupVersion)
	}
	var out []*api.Kind
	for _, k := range kinds {
		if !k.Prerelease() || s.enabled.ResourceEnabled(k.GVR) {
			out = append(out, k)
		}
	}
	return out, nil
}

// withCoreNames gives a runtime config its names for the core group, v1 and
// api/v1, as the libraries know them, and leaves out the old api/legacy, which
// says nothing any more.
func withCoreNames(config map[string]string) map[string]string {
	out := make(map[string]string, len(config))
	for key, value := range config {
		name := strings.TrimPrefix(key, "api/")
		switch {
		case key == "api/legacy":
			continue
		case name == "v1" || strings.HasPrefix(name, "v1/"):
			key = "/" + name
		}
		out[key] = value
	}
	return out
}

// serves says whether a resource of a group and version is switched on.
func (s *Server) serves(gv schema.GroupVersion, resource string) bool {
	return s.enabled.ResourceEnabled(gv.WithResource(resource))
}
