package apiserver

import (
	"errors"
	"fmt"

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
	o := options.APIEnablementOptions{RuntimeConfig: s.config.RuntimeConfig}
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
	if s.enabled, err = resourceconfig.MergeAPIResourceConfigs(defaults, s.config.RuntimeConfig, t.scheme); err != nil {
		return nil, fmt.Errorf("--runtime-config: %w", err)
	}
	definitions, err := resourceconfig.MergeAPIResourceConfigs(apiextensions.DefaultAPIResourceConfigSource(), s.config.RuntimeConfig, apiextensions.Scheme)
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

// serves says whether a resource of a group and version is switched on.
func (s *Server) serves(gv schema.GroupVersion, resource string) bool {
	return s.enabled.ResourceEnabled(gv.WithResource(resource))
}
