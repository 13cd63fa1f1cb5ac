package command

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/metrics"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/controllers"
)

// webFlags are kube-apiserver's flags of HTTP itself, of its storage's caches and
// of how it reaches others. What they say is in c once the function that is
// returned was called.
func webFlags(f *pflag.FlagSet, c *apiserver.Config) func() error {
	w := &c.Web
	f.StringSliceVar(&w.CORSAllowedOrigins, "cors-allowed-origins", nil, "pages in browsers that may ask: regular expressions, anchored by ^ or // and by $ or :")
	f.StringSliceVar(&w.HSTSDirectives, "strict-transport-security-directives", nil, "what browsers are told of HTTPS, such as max-age=31536000,includeSubDomains,preload")
	f.Float64Var(&w.GoawayChance, "goaway-chance", 0, "how likely a request makes an HTTP/2 client connect again, 0 to 0.02: spreads clients over several masters")
	seconds := f.Int("min-request-timeout", 1800, "seconds after which a watch may end that asks for no time itself; twice that at most")
	f.DurationVar(&w.LivezGracePeriod, "livez-grace-period", 0, "how long after the start /livez says that all is well")
	f.StringVar(&w.ExternalHostname, "external-hostname", "", "what the API calls itself where it tells others (default: the address that it is advertised by)")
	f.BoolVar(&w.NoHTTP2, "disable-http2-serving", false, "serve HTTP/1.1 alone")
	f.IntVar(&w.HTTP2MaxStreams, "http2-max-streams-per-connection", 0, "requests at a time on a connection (default 1000)")
	f.VarPF(not{&w.NoProfiling}, "profiling", "", "serve /debug/pprof to those who may").NoOptDefVal = "true"
	f.BoolVar(&w.ContentionProfiling, "contention-profiling", false, "with --profiling, tell where goroutines wait")
	f.IntVar(&c.DeleteCollectionWorkers, "delete-collection-workers", 1, "objects of a collection that are deleted at a time")
	f.VarPF(not{&c.NoAggregatorRouting}, "enable-aggregator-routing", "", "reach extension servers and webhooks by an endpoint of their service, not by its cluster IP").NoOptDefVal = "true"
	f.StringVar(&c.KubeletCAFile, "kubelet-certificate-authority", "", "CAs that sign node agents' certificates (default: the cluster's own)")
	f.StringVar(&c.KubeletClientCertFile, "kubelet-client-certificate", "", "certificate shown to node agents (default: the cluster's own)")
	f.StringVar(&c.KubeletClientKeyFile, "kubelet-client-key", "", "key of --kubelet-client-certificate")
	f.VarPF(not{&c.Etcd.NoWatchCache}, "watch-cache", "", "answer lists and watches from memory").NoOptDefVal = "true"
	sizes := f.StringSlice("watch-cache-sizes", nil, "resource[.group]#0 for those that --watch-cache is not for; other sizes say nothing")
	return func() error {
		w.MinRequestTimeout = time.Duration(*seconds) * time.Second
		of, err := options.ParseWatchCacheSizes(*sizes)
		if err != nil {
			return fmt.Errorf("--watch-cache-sizes: %w", err)
		}
		for gr, size := range of {
			if size == 0 {
				c.Etcd.Uncached = append(c.Etcd.Uncached, gr)
			}
		}
		return nil
	}
}

// processFlags are those of what a process has once, to be called as webFlags.
func processFlags(f *pflag.FlagSet) func() error {
	gates := map[string]bool{}
	f.Var(cliflag.NewMapStringBool(&gates), "feature-gates", "features of k8s.io/apiserver and k8s.io/apiextensions-apiserver to switch, as Name=true,Name=false")
	m := metrics.NewOptions()
	m.AddFlags(f)
	return func() error {
		if err := setFeatures(gates); err != nil {
			return fmt.Errorf("--feature-gates: %w", err)
		}
		if err := errors.Join(m.Validate()...); err != nil {
			return err
		}
		m.Apply()
		return nil
	}
}

// elsewhere are features of the library's that act in kube-apiserver's own code, of
// which skiff has no part.
var elsewhere = []featuregate.Feature{
	features.UnknownVersionInteroperabilityProxy, features.StorageVersionAPI, features.APIServingWithRoutine,
}

// setFeatures looks for unknown names first: the library keeps them, and refuses
// all that comes after.
func setFeatures(gates map[string]bool) error {
	if len(gates) == 0 {
		return nil
	}
	known := feature.DefaultMutableFeatureGate.GetAll()
	for name, on := range gates {
		spec, ok := known[featuregate.Feature(name)]
		if !ok {
			return fmt.Errorf("unrecognized feature gate: %s", name)
		}
		if on != spec.Default && slices.Contains(elsewhere, featuregate.Feature(name)) {
			return fmt.Errorf("%s is not to be switched: skiff does without what it is about", name)
		}
	}
	return feature.DefaultMutableFeatureGate.SetFromMap(gates)
}

// controllerFlags are kube-controller-manager's flags of which controllers run,
// and of the networks that they give to nodes.
func controllerFlags(f *pflag.FlagSet, c *controllers.Config) {
	f.StringSliceVar(&c.Controllers, "controllers", []string{"*"}, "what runs: names, '-name' for all but it, '*' for all; there are: "+fmt.Sprint(controllers.Names()))
	f.IntVar(&c.NodeCIDRMaskSize, "node-cidr-mask-size", 24, "size of a node's part of IPv4")
	f.IntVar(&c.NodeCIDRMaskSize, "node-cidr-mask-size-ipv4", 24, "the same as --node-cidr-mask-size")
	f.IntVar(&c.NodeCIDRMaskSizeIPv6, "node-cidr-mask-size-ipv6", 64, "size of a node's part of IPv6")
}
