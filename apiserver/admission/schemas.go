package admission

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/openapi"
	restclient "k8s.io/client-go/rest"
)

// schemas are the OpenAPI documents as policies that change objects want them:
// all of their names and versions each 5 s, and the document of a group when an
// object of it is changed. The server's own list of them has to make every
// document for its hash, which takes the better part of a second.
type schemas struct {
	client   restclient.Interface
	versions func() map[string]string
}

// Paths implements openapi.Client.
func (s schemas) Paths() (map[string]openapi.GroupVersion, error) {
	out := map[string]openapi.GroupVersion{}
	for path, version := range s.versions() {
		out[path] = document{s.client, "/openapi/v3/" + path, version}
	}
	return out, nil
}

// document is the schema of one group and version.
type document struct {
	client        restclient.Interface
	path, version string
}

// Schema implements openapi.GroupVersion.
func (d document) Schema(contentType string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return d.client.Get().AbsPath(d.path).SetHeader("Accept", contentType).Do(ctx).Raw()
}

// ServerRelativeURL implements openapi.GroupVersion: it is another one when the
// document is.
func (d document) ServerRelativeURL() string { return d.path + "?hash=" + d.version }

// documented is a client that finds schemas.
type documented struct {
	kubernetes.Interface
	schemas schemas
}

// Discovery implements kubernetes.Interface.
func (d documented) Discovery() discovery.DiscoveryInterfaces {
	return discovered{d.Interface.Discovery(), d.schemas}
}

type discovered struct {
	discovery.DiscoveryInterfaces
	schemas schemas
}

// OpenAPIV3 implements discovery.DiscoveryInterface.
func (d discovered) OpenAPIV3() openapi.Client { return d.schemas }

// patient lets a request wait for the schema of its kind, for as long as it
// waits for a plugin. Until the schemas were listed, in the moment after the
// first policy or up to 5 s after a new definition, the plugin knows none and
// answers 503. A failure changes nothing in the object.
type patient struct{ *mutating.Plugin }

// Admit implements admission.MutationInterface.
func (p patient) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (err error) {
	waiting, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	_ = wait.PollUntilContextCancel(waiting, 100*time.Millisecond, true, func(context.Context) (bool, error) {
		err = p.Plugin.Admit(ctx, a, o)
		return !apierrors.IsServiceUnavailable(err), nil
	})
	return err
}
