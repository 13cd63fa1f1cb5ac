package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
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
	"github.com/skiffcluster/skiff/dns/server"
)

// Where the Corefile is: kubeadm's name and key.
const (
	configName = "coredns"
	configKey  = "Corefile"
)

// configure takes over a Corefile; upstreams that it finds to ask us are taken
// out of use while queries are answered already.
func (s *Server) configure(ctx context.Context, running *sync.WaitGroup, handler *server.Server, text string) error {
	c, err := corefile.Parse(text, s.cfg.ClusterDomain, os.ReadFile)
	if err != nil {
		return err
	}
	routes, err := server.NewRoutes(c, s.cfg.NetNS, s.metrics, func(path string) ([]string, error) { return s.upstreams(ctx, path) })
	if err != nil {
		return err
	}
	handler.Use(routes)
	running.Go(func() { routes.FindLoops(ctx) })
	return nil
}

// watchConfig follows the ConfigMap. A Corefile that cannot be used leaves the
// one before in force, and is told in the log and the metrics.
func (s *Server) watchConfig(ctx context.Context, running *sync.WaitGroup, handler *server.Server) {
	log := klog.FromContext(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0,
		informers.WithNamespace(metav1.NamespaceSystem),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", configName).String()
		}))
	source := factory.Core().V1().ConfigMaps().Informer()
	inForce := corefile.Default
	use := func(text string) {
		if text == inForce {
			return
		}
		if err := s.configure(ctx, running, handler, text); err != nil {
			s.metrics.ReloadFailed()
			log.Error(err, "Corefile is not used", "configMap", klog.KRef(metav1.NamespaceSystem, configName))
			return
		}
		inForce = text
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
		DeleteFunc: func(any) { use(corefile.Default) },
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

// upstreams returns the servers that a resolv.conf names, without ourselves.
func (s *Server) upstreams(ctx context.Context, path string) ([]string, error) {
	found := s.cfg.Upstreams
	if found == nil || path != defaultResolvConf {
		if path == defaultResolvConf && s.cfg.ResolvConf != "" {
			path = s.cfg.ResolvConf
		}
		conf, err := dns.ClientConfigFromFile(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			klog.FromContext(ctx).Info("No upstream DNS servers: names outside of the cluster are refused", "missing", path)
		case err != nil:
			return nil, fmt.Errorf("read upstream DNS servers: %w", err)
		default:
			for _, a := range conf.Servers {
				found = append(found, net.JoinHostPort(a, conf.Port))
			}
		}
	}
	own := s.Addresses()
	var out []string
	for _, a := range found {
		if !slices.Contains(own, a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}
