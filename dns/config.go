package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/dns/corefile"
	"github.com/skiffcluster/skiff/dns/kubernetes"
)

// Where the Corefile is: kubeadm's name and key.
const (
	configName = "coredns"
	configKey  = "Corefile"
)

// standard is what is in force without a ConfigMap: kubeadm's, but for what
// the node decides itself, and for errors, since a log of each name that could
// not be looked up is for those who ask for it.
const standard = `.:53 {
    kubernetes DOMAIN in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    loadbalance
}
`

func (s *Server) standardCorefile() string {
	return strings.ReplaceAll(standard, "DOMAIN", s.cfg.ClusterDomain)
}

// use puts a Corefile in force. Upstreams that it finds to ask us are taken out
// of use while queries are answered already.
func (s *Server) use(ctx context.Context, running *sync.WaitGroup, text string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	next, err := corefile.Load(text, corefile.Node{
		Names:   kubernetes.Source{Zone: s.zone, Synced: s.synced.Load, PodsSynced: s.podsSynced.Load, Search: s.search},
		Servers: func(path string) ([]string, error) { return s.upstreams(ctx, path) },
		Skip:    func(addr string) bool { return slices.Contains(s.Addresses(), addr) || s.loops.has(addr) },
	})
	if err != nil {
		return err
	}
	if next.NeedsPods {
		s.pods.Do(func() { running.Go(func() { s.watchPods(ctx, running) }) })
	}
	s.inForce = text
	if old := s.chain.Swap(next); old != nil {
		if err := old.Close(); err != nil {
			klog.FromContext(ctx).Error(err, "Former Corefile did not end well")
		}
	}
	running.Go(func() { s.findLoops(ctx, running, next.Upstreams) })
	return nil
}

// findLoops takes servers that forward to us out of use.
func (s *Server) findLoops(ctx context.Context, running *sync.WaitGroup, upstreams []string) {
	found := false
	for _, u := range upstreams {
		if s.loops.probe(ctx, s.cfg.NetNS, u) {
			found = true
			klog.FromContext(ctx).Error(errors.New("it forwards to this server"), "Upstream server is not used", "server", u)
		}
	}
	if !found || ctx.Err() != nil {
		return
	}
	s.changing.Lock()
	text := s.inForce
	s.changing.Unlock()
	if err := s.use(ctx, running, text); err != nil {
		klog.FromContext(ctx).Error(err, "Upstream servers stay in use")
	}
}

// watchConfig follows the ConfigMap. A Corefile that cannot be used leaves the
// one before in force, and is told in the log and the metrics.
func (s *Server) watchConfig(ctx context.Context, running *sync.WaitGroup) {
	log := klog.FromContext(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0,
		informers.WithNamespace(metav1.NamespaceSystem),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", configName).String()
		}))
	source := factory.Core().V1().ConfigMaps().Informer()
	asked := s.standardCorefile()
	use := func(text string) {
		if text == asked {
			return
		}
		asked = text
		if err := s.use(ctx, running, text); err != nil {
			s.reloadFailed.Inc()
			log.Error(err, "Corefile is not used", "configMap", klog.KRef(metav1.NamespaceSystem, configName))
			return
		}
		log.Info("Corefile is in force", "configMap", klog.KRef(metav1.NamespaceSystem, configName))
	}
	take := func(o any) {
		if m, ok := o.(*corev1.ConfigMap); ok && m.Data[configKey] != "" {
			use(m.Data[configKey])
		}
	}
	_, err := source.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    take,
		UpdateFunc: func(_, o any) { take(o) },
		DeleteFunc: func(any) { use(s.standardCorefile()) },
	})
	if err == nil {
		err = source.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			if apierrors.IsForbidden(err) {
				klog.FromContext(ctx).V(2).Info("ConfigMap with the Corefile may not be read", "err", err)
				return
			}
			cache.DefaultWatchErrorHandler(ctx, r, err)
		})
	}
	if err != nil {
		return // only after a stop
	}
	source.RunWithContext(ctx)
}

// upstreams returns the servers that a resolv.conf names.
func (s *Server) upstreams(ctx context.Context, path string) ([]string, error) {
	if s.cfg.Upstreams != nil && path == defaultResolvConf {
		return s.cfg.Upstreams, nil
	}
	path = s.resolvConf(path)
	conf, err := dns.ClientConfigFromFile(path)
	if errors.Is(err, os.ErrNotExist) {
		klog.FromContext(ctx).Info("No upstream DNS servers: names outside of the cluster are refused", "missing", path)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read upstream DNS servers: %w", err)
	}
	var out []string
	for _, a := range conf.Servers {
		if a = net.JoinHostPort(a, conf.Port); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}

// search returns the domains that the node searches, as pods do after the
// cluster's own.
func (s *Server) search() []string {
	conf, err := dns.ClientConfigFromFile(s.resolvConf(defaultResolvConf))
	if err != nil {
		return nil // as without search domains
	}
	var out []string
	for _, d := range conf.Search {
		out = append(out, dns.CanonicalName(d))
	}
	return out
}

// resolvConf returns the file to read for the one that a Corefile names.
func (s *Server) resolvConf(path string) string {
	if path == defaultResolvConf && s.cfg.ResolvConf != "" {
		return s.cfg.ResolvConf
	}
	return path
}
