package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/options"
	basecompatibility "k8s.io/component-base/compatibility"
)

// Web is how HTTP itself is served, as kube-apiserver's flags of the same names
// say. The zero value is their defaults.
type Web struct {
	// CORSAllowedOrigins are regular expressions of the pages in browsers that
	// may ask.
	CORSAllowedOrigins []string
	// HSTSDirectives tell browsers to come by HTTPS only.
	HSTSDirectives []string
	// GoawayChance is how likely a request makes a client connect again, 0 to
	// 0.02, so that clients spread over several servers.
	GoawayChance float64
	// MinRequestTimeout is the least time after which a watch ends that asks for
	// no time itself; the most is twice that. Default 30 minutes.
	MinRequestTimeout time.Duration
	// LivezGracePeriod is how long after the start /livez says that all is well.
	LivezGracePeriod time.Duration
	// ExternalHostname is what the API calls itself, where it tells others where
	// it is. Default: the address that it is advertised by.
	ExternalHostname string
	// NoHTTP2 serves HTTP/1.1 alone; else HTTP2MaxStreams bounds the requests at
	// a time on a connection, default 1000.
	NoHTTP2         bool
	HTTP2MaxStreams int
	// NoProfiling leaves /debug/pprof out; ContentionProfiling has it tell where
	// goroutines wait.
	NoProfiling, ContentionProfiling bool
}

// apply checks what was said, in the library's words, and says it to the library.
func (w Web) apply(c *genericapiserver.Config) error {
	o := options.ServerRunOptions{
		CorsAllowedOriginList: w.CORSAllowedOrigins, HSTSDirectives: w.HSTSDirectives, GoawayChance: w.GoawayChance,
		MinRequestTimeout: int(w.MinRequestTimeout / time.Second), LivezGracePeriod: w.LivezGracePeriod,
		ComponentGlobalsRegistry: basecompatibility.NewComponentGlobalsRegistry(),
	}
	if err := errors.Join(o.Validate()...); err != nil {
		return err
	}
	if w.HTTP2MaxStreams < 0 {
		return fmt.Errorf("--http2-max-streams-per-connection %d can not be negative", w.HTTP2MaxStreams)
	}
	c.CorsAllowedOriginList, c.HSTSDirectives, c.GoawayChance = w.CORSAllowedOrigins, w.HSTSDirectives, w.GoawayChance
	if o.MinRequestTimeout > 0 {
		c.MinRequestTimeout = o.MinRequestTimeout
	}
	c.LivezGracePeriod = w.LivezGracePeriod
	c.EnableProfiling, c.EnableContentionProfiling = !w.NoProfiling, w.ContentionProfiling
	return nil
}

// headers answers what browsers ask and tells clients to connect again, where
// that is wanted.
func headers(h http.Handler, c *genericapiserver.Config) http.Handler {
	if c.SecureServing != nil && !c.SecureServing.DisableHTTP2 && c.GoawayChance > 0 {
		h = genericfilters.WithProbabilisticGoaway(h, c.GoawayChance)
	}
	if len(c.HSTSDirectives) > 0 {
		h = genericfilters.WithHSTS(h, c.HSTSDirectives)
	}
	return h
}
