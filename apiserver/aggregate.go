package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiffcluster/skiff/apiserver/aggregation"
)

// aggregate makes what sends requests on to extension servers.
func (s *Server) aggregate(c *genericapiserver.Config, groups []group) error {
	if !s.enabled.ResourceEnabled(apiregistrationv1.SchemeGroupVersion.WithResource("apiservices")) {
		return fmt.Errorf("API group/version %s must be enabled", apiregistrationv1.SchemeGroupVersion)
	}
	served := []schema.GroupVersion{{Group: "apiextensions.k8s.io", Version: "v1"}}
	for _, g := range groups {
		served = append(served, g.gv)
	}
	slices.SortFunc(served, aggregation.Compare)
	for _, gv := range served {
		if p, ok := aggregation.PriorityOf(gv); ok {
			c.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(gv), int(p.Group), int(p.Version))
		}
	}
	// Above the 20000 that an APIService may ask for: it is always the first.
	c.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(apiregistrationv1.SchemeGroupVersion), 20001, 0)
	certificate, err := s.proxyCertificate()
	if err != nil {
		return err
	}
	trust, err := s.trust()
	if err != nil {
		return err
	}
	s.aggregator, err = aggregation.New(aggregation.Config{
		Store: s.storeOf(apiregistrationv1.GroupName, "apiservices"), REST: c.LoopbackClientConfig,
		Definitions: s.crd.Informers.Apiextensions().V1().CustomResourceDefinitions(), Served: served,
		Services: s.services(), Dial: s.config.DialNode, ClientCertificate: certificate,
		Discovery: c.AggregatedDiscoveryGroupManager, Serializer: c.Serializer,
	})
	if err != nil {
		return err
	}
	s.beside = append(s.beside, func(ctx context.Context) {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return
		}
		for _, gv := range served {
			if local, ok := aggregation.Local(gv); ok {
				s.ensureInBackground(ctx, local)
			}
		}
		s.ensureInBackground(ctx, trust)
		if err := s.aggregator.Run(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Extension servers are not followed")
		}
	})
	return nil
}

// ensureInBackground is for what a cluster can begin without. Another server
// on the same data may write the same.
func (s *Server) ensureInBackground(ctx context.Context, obj metav1.Object) {
	if err := s.ensureOne(ctx, obj); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) {
		klog.FromContext(ctx).Error(err, "Failed to write a bootstrap object", "name", obj.GetName())
	}
}

// proxyCertificate is shown to extension servers: that of a file, or the
// cluster's own.
func (s *Server) proxyCertificate() (func() (cert, key []byte), error) {
	cert, key := s.config.ProxyClientCertFile, s.config.ProxyClientKeyFile
	if cert == "" && key == "" {
		return s.config.ProxyClientCertificate, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("--proxy-client-cert-file and --proxy-client-key-file must be given together")
	}
	files, err := dynamiccertificates.NewDynamicServingContentFromFiles("aggregator-proxy-cert", cert, key)
	if err != nil {
		return nil, fmt.Errorf("--proxy-client-cert-file %s, --proxy-client-key-file %s: %w", cert, key, err)
	}
	s.beside = append(s.beside, func(ctx context.Context) { files.Run(ctx, 1) })
	return files.CurrentCertKeyContent, nil
}

// trust tells extension servers whose client certificates are good and who may
// speak for others. They read it by k8s.io/apiserver's delegated
// authentication.
func (s *Server) trust() (*corev1.ConfigMap, error) {
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"}, Data: map[string]string{},
	}
	ca, err := s.clientCA()
	if err != nil {
		return nil, err
	}
	if ca != nil {
		m.Data["client-ca-file"] = string(ca.CurrentCABundleContent())
	}
	front := s.config.Authentication.RequestHeader
	if front.ClientCAFile == "" {
		if len(s.config.ProxyCAPEM) == 0 {
			return m, nil
		}
		front = options.RequestHeaderAuthenticationOptions{
			UsernameHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"}, GroupHeaders: []string{"X-Remote-Group"},
			ExtraHeaderPrefixes: []string{"X-Remote-Extra-"}, AllowedNames: []string{ProxyClientName},
		}
		m.Data["requestheader-client-ca-file"] = string(s.config.ProxyCAPEM)
	} else {
		ca, err := dynamiccertificates.NewDynamicCAContentFromFile("requestheader-client-ca", front.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("--requestheader-client-ca-file %s: %w", front.ClientCAFile, err)
		}
		m.Data["requestheader-client-ca-file"] = string(ca.CurrentCABundleContent())
	}
	for key, list := range map[string][]string{
		"requestheader-username-headers": front.UsernameHeaders, "requestheader-uid-headers": front.UIDHeaders,
		"requestheader-group-headers": front.GroupHeaders, "requestheader-extra-headers-prefix": front.ExtraHeaderPrefixes,
		"requestheader-allowed-names": front.AllowedNames,
	} {
		raw, err := json.Marshal(append([]string{}, list...))
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		m.Data[key] = string(raw)
	}
	return m, nil
}

// ProxyClientName is the common name of the certificate that this server shows
// to extension servers.
const ProxyClientName = "front-proxy-client"
