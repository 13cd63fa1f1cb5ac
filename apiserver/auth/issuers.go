package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/filewatch"
)

// issuers verifies ID tokens of the issuers that --oidc-* or
// --authentication-config name. The file is read again when it changes.
type issuers struct {
	life       context.Context //nolint:containedctx // fetches of keys end with it
	file       string
	disallowed []string // our own issuer's tokens are verified elsewhere
	algs       []string
	compiler   authenticationcel.Compiler
	anonymous  *apiserver.AnonymousAuthConfig

	content []byte // that is in force
	current atomic.Pointer[issuerSet]
}

// issuerSet is one version of the configuration at work.
type issuerSet struct {
	authenticator.Token
	healthy func() error
	stop    context.CancelFunc
}

// Times of a change of issuers: how long the new ones may take to give their
// keys, and how long requests with the old ones may still be under way.
const (
	issuerTimeout = time.Minute
	issuerGrace   = time.Minute
)

func newIssuers(ctx context.Context, a Authentication) (*issuers, error) {
	i := &issuers{life: ctx, file: a.ConfigFile, algs: a.OIDC.SigningAlgs, compiler: authenticationcel.NewDefaultCompiler()}
	if a.ServiceAccounts != nil {
		i.disallowed = a.ServiceAccounts.Issuers
	}
	var c *apiserver.AuthenticationConfiguration
	var err error
	switch {
	case a.ConfigFile == "":
		c, err = a.OIDC.configuration()
	case a.OIDC.set():
		return nil, errors.New("authentication-config file and oidc-* flags are mutually exclusive")
	default:
		i.algs = oidc.AllValidSigningAlgorithms()
		c, i.content, err = readIssuers(a.ConfigFile)
	}
	if err != nil {
		return nil, err
	}
	set, err := i.start(c)
	if err != nil {
		return nil, err
	}
	i.anonymous = c.Anonymous
	i.current.Store(set)
	return i, nil
}

// AuthenticateToken implements authenticator.Token.
func (i *issuers) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	return i.current.Load().AuthenticateToken(ctx, token)
}

// start begins to fetch the issuers' keys.
func (i *issuers) start(c *apiserver.AuthenticationConfiguration) (_ *issuerSet, err error) {
	source := "--oidc-*"
	if i.file != "" {
		source = "--authentication-config " + i.file
	}
	if err := validation.ValidateAuthenticationConfiguration(i.compiler, c, i.disallowed).ToAggregate(); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	ctx, cancel := context.WithCancel(i.life)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	var tokens []authenticator.Token
	var checks []func() error
	for _, j := range c.JWT {
		o := oidc.Options{JWTAuthenticator: j, SupportedSigningAlgs: i.algs, DisallowedIssuers: i.disallowed, Compiler: i.compiler}
		if j.Issuer.CertificateAuthority != "" {
			if o.CAContentProvider, err = dynamiccertificates.NewStaticCAContent("oidc-authenticator", []byte(j.Issuer.CertificateAuthority)); err != nil {
				return nil, fmt.Errorf("%s: CA of issuer %s: %w", source, j.Issuer.URL, err)
			}
		}
		t, err := oidc.New(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("%s: issuer %s: %w", source, j.Issuer.URL, err)
		}
		tokens, checks = append(tokens, t), append(checks, t.HealthCheck)
	}
	return &issuerSet{Token: tokenunion.New(tokens...), stop: cancel, healthy: func() (err error) {
		for _, check := range checks {
			err = errors.Join(err, check())
		}
		return err
	}}, nil
}

// follow keeps up with the file.
func (i *issuers) follow(ctx context.Context) { filewatch.Follow(ctx, []string{i.file}, i.reload) }

// reload puts a changed file in force once its issuers have given their keys.
func (i *issuers) reload(ctx context.Context) error {
	c, content, err := readIssuers(i.file)
	if err != nil || bytes.Equal(content, i.content) {
		return err
	}
	next, err := i.start(c)
	if err != nil {
		return err
	}
	if err := wait.PollUntilContextTimeout(ctx, time.Second/10, issuerTimeout, true, func(context.Context) (bool, error) {
		return next.healthy() == nil, nil
	}); err != nil {
		next.stop()
		return fmt.Errorf("--authentication-config %s: %w", i.file, errors.Join(err, next.healthy()))
	}
	i.content = content
	old := i.current.Swap(next)
	time.AfterFunc(issuerGrace, old.stop)
	klog.FromContext(ctx).Info("Authentication configuration is in force", "file", i.file)
	return nil
}

// configCodecs read configuration files strictly.
var configCodecs = sync.OnceValue(func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict)
})

func readIssuers(file string) (*apiserver.AuthenticationConfiguration, []byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("--authentication-config: %w", err)
	}
	if len(content) == 0 {
		return nil, nil, fmt.Errorf("--authentication-config %s: the file is empty", file)
	}
	obj, err := runtime.Decode(configCodecs().UniversalDecoder(), content)
	if err != nil {
		return nil, nil, fmt.Errorf("--authentication-config %s: %w", file, err)
	}
	c, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, nil, fmt.Errorf("--authentication-config %s: expected AuthenticationConfiguration, got %T", file, obj)
	}
	return c, content, nil
}
