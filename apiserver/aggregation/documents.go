package aggregation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	v2 "k8s.io/kube-aggregator/pkg/controllers/openapi"
	v2aggregator "k8s.io/kube-aggregator/pkg/controllers/openapi/aggregator"
	v3 "k8s.io/kube-aggregator/pkg/controllers/openapiv3"
	v3aggregator "k8s.io/kube-aggregator/pkg/controllers/openapiv3/aggregator"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler3"
)

// documents are /openapi/v2 and /openapi/v3 of all servers. Our own are asked
// for only when a client asks: to build them takes long.
type documents struct {
	local  http.Handler
	remote *mux.PathRecorderMux
	v2     *v2.AggregationController
	v3     *v3.AggregationController
}

// locally is our server in the form in which the library merges documents.
type locally struct {
	genericapiserver.DelegationTarget
}

// ListedPaths tells the library that there is a document.
func (locally) ListedPaths() []string { return []string{"/openapi/v2"} }

func newDocuments(local http.Handler) (*documents, error) {
	d := &documents{local: local, remote: mux.NewPathRecorderMux("aggregated-openapi")}
	downloader := v2aggregator.NewDownloader()
	none := &common.Config{GetDefinitions: func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }}
	two, err := v2aggregator.BuildAndRegisterAggregator(&downloader, locally{genericapiserver.NewEmptyDelegateWithCustomHandler(local)}, nil, none, d.remote)
	if err != nil {
		return nil, fmt.Errorf("merge OpenAPI v2: %w", err)
	}
	three, err := v3aggregator.BuildAndRegisterAggregator(v3aggregator.NewDownloader(), nil, nil, nil, d.remote)
	if err != nil {
		return nil, fmt.Errorf("merge OpenAPI v3: %w", err)
	}
	d.v2, d.v3 = v2.NewAggregationController(&downloader, two), v3.NewAggregationController(three)
	return d, nil
}

func (d *documents) run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { d.v2.RunWithContext(ctx) })
	group.Go(func() { d.v3.RunWithContext(ctx) })
	group.Wait()
}

func (d *documents) set(s *apiregistrationv1.APIService, h http.Handler, known bool) {
	if known {
		d.v2.UpdateAPIService(h, s)
		d.v3.UpdateAPIService(h, s)
		return
	}
	d.v2.AddAPIService(h, s)
	d.v3.AddAPIService(h, s)
}

func (d *documents) remove(name string) {
	d.v2.RemoveAPIService(name)
	d.v3.RemoveAPIService(name)
}

const root3 = "/openapi/v3"

// ServeHTTP implements http.Handler.
func (d *documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case path == "/openapi/v2":
		d.remote.ServeHTTP(w, r)
	case path == root3:
		d.index(w, r)
	case strings.HasPrefix(path, root3+"/") && d.has(r, strings.TrimPrefix(path, root3+"/")):
		d.remote.ServeHTTP(w, r)
	default:
		d.local.ServeHTTP(w, r)
	}
}

// index merges the lists of documents, of which the extension servers' win.
func (d *documents) index(w http.ResponseWriter, r *http.Request) {
	all, err := list(d.local, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	theirs, err := list(d.remote, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	maps.Copy(all, theirs)
	raw, err := json.Marshal(handler3.OpenAPIV3Discovery{Paths: all})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.ServeContent(w, r, root3, time.Now(), bytes.NewReader(raw))
}

// has says whether an extension server has a document.
func (d *documents) has(r *http.Request, document string) bool {
	theirs, err := list(d.remote, r)
	_, ok := theirs[document]
	return err == nil && ok
}

// list asks h which documents there are.
func list(h http.Handler, r *http.Request) (map[string]handler3.OpenAPIV3DiscoveryGroupVersion, error) {
	req := r.Clone(r.Context())
	req.Method, req.URL.Path, req.URL.RawQuery = http.MethodGet, root3, ""
	req.Header.Set("Accept", "application/json")
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "Accept-Encoding", "Range"} {
		req.Header.Del(name)
	}
	answer := &memory{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(answer, req)
	if answer.code != http.StatusOK {
		return nil, fmt.Errorf("list OpenAPI v3 documents: %d %s", answer.code, strings.TrimSpace(answer.String()))
	}
	var found handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(answer.Bytes(), &found); err != nil {
		return nil, fmt.Errorf("list OpenAPI v3 documents: %w", err)
	}
	if found.Paths == nil {
		found.Paths = map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}
	}
	return found.Paths, nil
}

// memory is an answer that is read here.
type memory struct {
	bytes.Buffer
	header http.Header
	code   int
}

func (m *memory) Header() http.Header { return m.header }

func (m *memory) WriteHeader(code int) { m.code = code }
