package aggregation

import (
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/util/proxy"
	endpointmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	proxyutil "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	remotestatus "k8s.io/kube-aggregator/pkg/controllers/status/remote"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/utils/ptr"
)

// service is an extension server of one group and version.
type service struct {
	api       *apiregistrationv1.APIService
	available bool
	transport http.RoundTripper
	broken    error // why there is no transport
	resolve   func(namespace, name string, port int32) (*url.URL, error)
}

func (a *Aggregator) service(s *apiregistrationv1.APIService) *service {
	out := &service{
		api: s, available: helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available), resolve: a.config.Services.ResolveEndpoint,
	}
	cert, key := a.clientCertificate()
	out.transport, out.broken = transport.New(remotestatus.BuildTransportConfig(a.dial, cert, key, s))
	return out
}

// checked is the same without a look at the availability: discovery goes to
// the server at once, before the first check of it has ended.
func (s *service) checked() *service {
	out := *s
	out.available = true
	return &out
}

// ServeHTTP sends a request on as the user who asks.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.available {
		refuse(w, r, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	if s.broken != nil {
		refuse(w, r, s.broken.Error(), http.StatusInternalServerError)
		return
	}
	who, ok := request.UserFrom(r.Context())
	if !ok {
		refuse(w, r, "missing user", http.StatusInternalServerError)
		return
	}
	ref := s.api.Spec.Service
	place, err := s.resolve(ref.Namespace, ref.Name, ptr.Deref(ref.Port, 443))
	if err != nil {
		refuse(w, r, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	location := &url.URL{Scheme: "https", Host: place.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	out, cancel := proxyutil.NewRequestForProxy(location, r)
	defer cancel()
	upgrade := httpstream.IsUpgradeRequest(r)
	if upgrade {
		// An upgraded connection is dialled past the round tripper below.
		transport.SetAuthProxyHeaders(out, who.GetName(), who.GetUID(), who.GetGroups(), who.GetExtra())
	}
	as := transport.NewAuthProxyRoundTripper(who.GetName(), who.GetUID(), who.GetGroups(), who.GetExtra(), s.transport)
	handler := proxy.NewUpgradeAwareHandler(location, as, true, upgrade, responder{})
	flowcontrol.RequestDelegated(r.Context())
	handler.ServeHTTP(w, out)
}

// refuse answers for a server that can't be asked.
func refuse(w http.ResponseWriter, r *http.Request, text string, code int) {
	http.Error(w, text, code)
	if info, ok := request.RequestInfoFrom(r.Context()); ok {
		endpointmetrics.RecordRequestTermination(r, info, "aggregator", code)
	}
}

// responder answers for a server that could not be reached.
type responder struct{}

// Error implements proxy.ErrorResponder.
func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func (a *Aggregator) clientCertificate() (cert, key []byte) {
	if a.config.ClientCertificate == nil {
		return nil, nil
	}
	return a.config.ClientCertificate()
}
