package apiserver

import (
	"errors"
	"fmt"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"
)

// TLS is what HTTPS is served with beside the certificate. The zero value is
// Go's choice.
type TLS struct {
	// SNI are certificates for clients that ask for certain names; files are
	// read again when they change.
	SNI []cliflag.NamedCertKey
	// MinVersion is VersionTLS10 to VersionTLS13, default VersionTLS12.
	MinVersion       string
	CipherSuites     []string // by IANA's names; of TLS 1.2 and before
	CurvePreferences []int32  // key exchanges, by their numbers in crypto/tls
}

// secure serves HTTPS. The library shows new connections what its providers
// have by then.
func (s *Server) secure(c *genericapiserver.Config) error {
	t := s.config.TLS
	o := &options.SecureServingOptions{
		Listener: s.config.Listener, SNICertKeys: t.SNI,
		DisableHTTP2Serving: s.config.Web.NoHTTP2, HTTP2MaxStreamsPerConnection: s.config.Web.HTTP2MaxStreams,
		MinTLSVersion: t.MinVersion, CipherSuites: t.CipherSuites, CurvePreferences: t.CurvePreferences,
	}
	cert, key := s.config.TLSCertFile, s.config.TLSKeyFile
	o.ServerCert.CertKey = options.CertKey{CertFile: cert, KeyFile: key}
	switch {
	case cert == "" && key == "":
		if s.config.Serving == nil {
			return errors.New("no certificate to serve with")
		}
		o.ServerCert.GeneratedCert = s.config.Serving
	case cert == "" || key == "":
		return errors.New("--tls-cert-file and --tls-private-key-file must be given together")
	}
	if err := o.ApplyTo(&c.SecureServing); err != nil {
		return fmt.Errorf("serve HTTPS as the --tls- flags say: %w", err)
	}
	return nil
}
