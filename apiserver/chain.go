package apiserver

import (
	"context"
	"net/http"

	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"github.com/skiffcluster/skiff/apiserver/stack"
)

// socketChain is what a request from the network goes through, last line
// first.
func socketChain(h http.Handler, c *genericapiserver.Config, limit func(http.Handler, *genericapiserver.Config) http.Handler, basic bool, closing context.Context) http.Handler {
	h = endStreams(h, c, closing)
	h = genericapifilters.WithAuthorization(h, c.Authorization.Authorizer, c.Serializer)
	h = limit(h, c)
	refuse := genericapifilters.Unauthorized(c.Serializer)
	if basic {
		refuse = challenge(refuse)
	}
	h = identify(h, c, refuse)
	if len(c.CorsAllowedOriginList) > 0 {
		h = genericfilters.WithCORS(h, c.CorsAllowedOriginList, nil, nil, nil, "true")
	}
	h = genericapifilters.WithRequestDeadline(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	h = genericfilters.WithWaitGroup(h, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	h = genericapifilters.WithCacheControl(h)
	return observe(headers(h, c), c)
}

// inProcessChain is the same for our own rooms: they are not limited, and
// their callers end requests by their contexts.
func inProcessChain(h http.Handler, c *genericapiserver.Config) http.Handler {
	h = genericapifilters.WithAuthorization(h, c.Authorization.Authorizer, c.Serializer)
	return observe(identify(h, c, genericapifilters.Unauthorized(c.Serializer)), c)
}

// endStreams ends watches and other streams when the server stops, which would
// wait for them otherwise.
func endStreams(h http.Handler, c *genericapiserver.Config, closing context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if !ok || !c.LongRunningFunc(r, info) {
			h.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(closing, cancel)()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// challenge tells browsers and others that wait to be asked that a name and a
// password will do (RFC 7617).
func challenge(refuse http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="kubernetes-master"`)
		refuse.ServeHTTP(w, r)
	})
}

// identify says who asks; refuse answers those of whom that can't be said.
func identify(h http.Handler, c *genericapiserver.Config, refuse http.Handler) http.Handler {
	if c.FeatureGate.Enabled(features.ConstrainedImpersonation) {
		h = impersonation.WithConstrainedImpersonation(h, c.Authorization.Authorizer, c.Serializer)
	} else {
		h = impersonation.WithImpersonation(h, c.Authorization.Authorizer, c.Serializer)
	}
	h = genericapifilters.WithAudit(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc)
	refuse = genericapifilters.WithFailedAuthenticationAudit(refuse, c.AuditBackend, c.AuditPolicyRuleEvaluator)
	h = genericapifilters.WithAuthentication(h, c.Authentication.Authenticator, refuse, c.Authentication.APIAudiences, c.Authentication.RequestHeaderConfig)
	return genericapifilters.WithWarningRecorder(h)
}

// observe says what is asked, and catches panics.
func observe(h http.Handler, c *genericapiserver.Config) http.Handler {
	h = genericapifilters.WithLatencyTrackers(h)
	h = genericapifilters.WithRequestInfo(h, c.RequestInfoResolver)
	h = genericapifilters.WithRequestReceivedTimestamp(h)
	h = genericfilters.WithPanicRecovery(h, c.RequestInfoResolver)
	h = genericapifilters.WithAuditInit(h)
	return growStack(h)
}

// growStack is for a request's goroutine.
func growStack(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stack.Reserve()
		h.ServeHTTP(w, r)
	})
}
