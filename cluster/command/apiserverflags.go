package command

import (
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/admission"
	"github.com/skiffcluster/skiff/apiserver/auth"
)

// identityFlags are kube-apiserver's flags of authentication, authorization,
// audit and encryption, with its names and defaults. What they say is in c once
// the function that is returned was called.
func identityFlags(f *pflag.FlagSet, c *apiserver.Config) func() {
	authenticationFlags(f, &c.Authentication)
	anonymous := f.Bool("anonymous-auth", true, "answer health and version without an identity")
	serviceAccountFlags(f, &c.ServiceAccounts)
	authorizationFlags(f, &c.Authorization)
	f.StringVar(&c.Etcd.Encryption.ConfigFile, "encryption-provider-config", "", "EncryptionConfiguration: how resources are encrypted in etcd")
	f.BoolVar(&c.Etcd.Encryption.AutomaticReload, "encryption-provider-config-automatic-reload", false, "look each minute whether --encryption-provider-config has changed")
	f.StringVar(&c.TLSCertFile, "tls-cert-file", "", "certificate to serve with instead of the cluster's own; read again when it changes")
	f.StringVar(&c.TLSKeyFile, "tls-private-key-file", "", "key of --tls-cert-file")
	tlsFlags(f, &c.TLS)
	audit := options.NewAuditOptions()
	audit.AddFlags(f)
	return func() {
		c.Authentication.NoAnonymous = !*anonymous
		c.Audit = audit
	}
}

// admissionFlags are kube-apiserver's flags of admission, to be called as
// identityFlags.
func admissionFlags(f *pflag.FlagSet, c *apiserver.Config) func() {
	f.StringSliceVar(&c.EnableAdmissionPlugins, "enable-admission-plugins", nil, "admission plugins beside the default ones ("+strings.Join(admission.Defaults(), ", ")+"); there are "+strings.Join(admission.Names(), ", "))
	f.StringSliceVar(&c.DisableAdmissionPlugins, "disable-admission-plugins", nil, "default admission plugins to leave out")
	f.StringVar(&c.AdmissionConfigFile, "admission-control-config-file", "", "AdmissionConfiguration: the configuration of admission plugins")
	notReady := f.Int64("default-not-ready-toleration-seconds", 300, "how long pods stay on a node that is not ready, unless they say so")
	unreachable := f.Int64("default-unreachable-toleration-seconds", 300, "how long pods stay on a node that does not answer, unless they say so")
	return func() { c.NotReadySeconds, c.UnreachableSeconds = notReady, unreachable }
}

func tlsFlags(f *pflag.FlagSet, t *apiserver.TLS) {
	f.Var(cliflag.NewNamedCertKeyArray(&t.SNI), "tls-sni-cert-key", "certificate and key, two files with a comma between, for clients that ask for its names, or for those listed after a colon: 'foo.crt,foo.key:*.foo.com,foo.com'; may be repeated, read again when they change")
	f.StringVar(&t.MinVersion, "tls-min-version", "", "oldest TLS version that is served; there are "+strings.Join(cliflag.TLSPossibleVersions(), ", ")+" (default VersionTLS12)")
	f.StringSliceVar(&t.CipherSuites, "tls-cipher-suites", nil, "cipher suites of TLS 1.2 and before; there are "+strings.Join(cliflag.PreferredTLSCipherNames(), ", ")+", and, insecure, "+strings.Join(cliflag.InsecureTLSCipherNames(), ", ")+" (default: Go's choice)")
	f.Int32SliceVar(&t.CurvePreferences, "tls-curve-preferences", nil, "key exchanges by their CurveID of Go's crypto/tls, in any order (default: Go's choice)")
}

func authenticationFlags(f *pflag.FlagSet, m *auth.Methods) {
	f.StringVar(&m.ClientCAFile, "client-ca-file", "", "CAs that sign client certificates, beside the cluster's own; read again when it changes")
	f.StringVar(&m.TokenFile, "token-auth-file", "", "CSV file of bearer tokens: token,user,uid[,\"groups\"]")
	f.StringVar(&m.BasicFile, "basic-auth-file", "", "file of users with bcrypt hashes of their passwords, as 'htpasswd -B' makes: user:hash[:group,group]; read again when it changes")
	f.BoolVar(&m.BootstrapTokens, "enable-bootstrap-token-auth", false, "accept tokens from secrets of type bootstrap.kubernetes.io/token in kube-system")
	f.StringVar(&m.ConfigFile, "authentication-config", "", "AuthenticationConfiguration: issuers of ID tokens, and who is anonymous; read again when it changes")
	o := &m.OIDC
	f.StringVar(&o.IssuerURL, "oidc-issuer-url", "", "OpenID issuer whose ID tokens are trusted, https only")
	f.StringVar(&o.ClientID, "oidc-client-id", "", "client that the ID tokens must be for")
	f.StringVar(&o.CAFile, "oidc-ca-file", "", "CA of the issuer's server (default: the host's CAs)")
	f.StringVar(&o.UsernameClaim, "oidc-username-claim", "", "claim that is the user's name (default sub)")
	f.StringVar(&o.UsernamePrefix, "oidc-username-prefix", "", "what is put before names; '-' for nothing (default: the issuer's URL and #, but for emails)")
	f.StringVar(&o.GroupsClaim, "oidc-groups-claim", "", "claim that is the user's groups")
	f.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", "", "what is put before groups")
	f.StringToStringVar(&o.RequiredClaims, "oidc-required-claim", nil, "claims, key=value, that tokens must have")
	f.StringSliceVar(&o.SigningAlgs, "oidc-signing-algs", nil, "JOSE algorithms that tokens may be signed by (default RS256)")
	w := &m.Webhook
	f.StringVar(&w.ConfigFile, "authentication-token-webhook-config-file", "", "kubeconfig of a server that answers TokenReviews")
	f.StringVar(&w.Version, "authentication-token-webhook-version", "v1beta1", "version of the TokenReviews that it is sent")
	f.DurationVar(&w.CacheTTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "how long its answers are kept")
	m.RequestHeader.AddFlags(f)
}

func serviceAccountFlags(f *pflag.FlagSet, s *apiserver.ServiceAccounts) {
	f.StringVar(&s.SigningKeyFile, "service-account-signing-key-file", "", "private key that signs service account tokens (default: the cluster's own)")
	f.StringArrayVar(&s.KeyFiles, "service-account-key-file", nil, "further keys that service account tokens may be signed with; may be repeated, a file may hold several")
	f.StringArrayVar(&s.Issuers, "service-account-issuer", nil, "issuer in service account tokens; may be repeated: the first is put in new ones, all are accepted (default https://kubernetes.default.svc.cluster.local)")
	f.StringVar(&s.JWKSURI, "service-account-jwks-uri", "", "where others get the keys of service account tokens (default: this server)")
	f.DurationVar(&s.MaxLifetime, "service-account-max-token-expiration", 0, "longest lifetime of a service account token (default: as long as is asked for)")
	f.StringSliceVar(&s.APIAudiences, "api-audiences", nil, "audiences of tokens for this server (default: the issuers)")
}

func authorizationFlags(f *pflag.FlagSet, a *auth.Authorization) {
	f.StringSliceVar(&a.Modes, "authorization-mode", nil, "who decides what users may, in this order; there are AlwaysAllow, AlwaysDeny, Webhook, RBAC, Node (default Node,RBAC)")
	f.StringVar(&a.ConfigFile, "authorization-config", "", "AuthorizationConfiguration instead of --authorization-mode and --authorization-webhook-*; read again when it changes")
	w := &a.Webhook
	f.StringVar(&w.ConfigFile, "authorization-webhook-config-file", "", "kubeconfig of a server that answers SubjectAccessReviews")
	f.StringVar(&w.Version, "authorization-webhook-version", "", "version of the SubjectAccessReviews that it is sent (default v1beta1)")
	f.DurationVar(&w.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", 0, "how long it is not asked again after yes (default 5m)")
	f.DurationVar(&w.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", 0, "how long it is not asked again after no (default 30s)")
}
