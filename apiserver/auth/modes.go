package auth

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/server/options"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/filewatch"
)

// Authorization says who decides what users may, one after the other. The zero
// value is Node and RBAC.
type Authorization struct {
	// Modes are upstream's names.
	Modes []string
	// Webhook is asked by mode Webhook.
	Webhook AccessWebhook
	// ConfigFile, an AuthorizationConfiguration, instead of all the above. It
	// is read again when it changes.
	ConfigFile string
}

// AccessWebhook asks a server by SubjectAccessReviews.
type AccessWebhook struct {
	// ConfigFile is a kubeconfig whose cluster is that server.
	ConfigFile                     string
	Version                        string        // of the SubjectAccessReview; default v1beta1
	AuthorizedTTL, UnauthorizedTTL time.Duration // how long answers are kept; default 5m and 30s
}

const (
	modeNode    = "Node"
	modeRBAC    = "RBAC"
	modeWebhook = "Webhook"
	modeAllow   = "AlwaysAllow"
	modeDeny    = "AlwaysDeny"
)

var knownModes = []string{modeAllow, modeDeny, modeWebhook, modeRBAC, modeNode}

// Deciders are the authorizers that the modes Node and RBAC name, and what
// comes before any mode.
type Deciders struct {
	First []union.NamedAuthorizer
	Node  authorizer.Authorizer
	RBAC  *RBAC
}

// Authorizer decides by the modes that are in force.
type Authorizer struct {
	file     string
	deciders Deciders
	compiler authorizationcel.Compiler // with a file

	content []byte // that is in force
	current atomic.Pointer[decision]
}

type decision struct {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// New makes the authorizer.
func (a Authorization) New(d Deciders) (*Authorizer, error) {
	out := &Authorizer{file: a.ConfigFile, deciders: d}
	var c *apiserver.AuthorizationConfiguration
	var err error
	if a.ConfigFile == "" {
		c, err = a.configuration()
	} else {
		if len(a.Modes) > 0 || a.Webhook != (AccessWebhook{}) {
			return nil, errors.New("--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined")
		}
		out.compiler = authorizationcel.NewDefaultCompiler()
		c, out.content, err = out.read()
	}
	if err != nil {
		return nil, err
	}
	first, err := out.build(c)
	if err != nil {
		return nil, err
	}
	out.current.Store(first)
	return out, nil
}

// configuration says the same as the flags.
func (a Authorization) configuration() (*apiserver.AuthorizationConfiguration, error) {
	modes := a.Modes
	if len(modes) == 0 {
		modes = []string{modeNode, modeRBAC}
	}
	c := &apiserver.AuthorizationConfiguration{}
	for i, m := range modes {
		switch {
		case m == "ABAC":
			return nil, errors.New("authorization-mode \"ABAC\" is not served here: use RBAC")
		case !slices.Contains(knownModes, m):
			return nil, fmt.Errorf("authorization-mode %q is not a valid mode", m)
		case slices.Contains(modes[:i], m):
			return nil, fmt.Errorf("authorization-mode %q has mode specified more than once", modes)
		}
		one := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(m), Name: strings.ToLower(m)}
		if m == modeWebhook {
			if a.Webhook.ConfigFile == "" {
				return nil, errors.New("authorization-mode Webhook's authorization config file not passed")
			}
			one.Name, one.Webhook = "default", a.Webhook.configuration()
		}
		c.Authorizers = append(c.Authorizers, one)
	}
	if a.Webhook.ConfigFile != "" && !slices.Contains(modes, modeWebhook) {
		return nil, errors.New("cannot specify --authorization-webhook-config-file without mode Webhook")
	}
	return c, nil
}

func (w AccessWebhook) configuration() *apiserver.WebhookConfiguration {
	return &apiserver.WebhookConfiguration{
		AuthorizedTTL:           metav1.Duration{Duration: cmp.Or(w.AuthorizedTTL, 5*time.Minute)},
		UnauthorizedTTL:         metav1.Duration{Duration: cmp.Or(w.UnauthorizedTTL, 30*time.Second)},
		CacheAuthorizedRequests: true, CacheUnauthorizedRequests: true,
		Timeout: metav1.Duration{Duration: 30 * time.Second}, SubjectAccessReviewVersion: cmp.Or(w.Version, "v1beta1"),
		FailurePolicy:  apiserver.FailurePolicyNoOpinion,
		ConnectionInfo: apiserver.WebhookConnectionInfo{Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &w.ConfigFile},
	}
}

// build puts the authorizers of a configuration together.
func (a *Authorizer) build(c *apiserver.AuthorizationConfiguration) (*decision, error) {
	chain := slices.Clone(a.deciders.First)
	var rules []authorizer.RuleResolver
	for _, one := range c.Authorizers {
		var next authorizer.Authorizer
		switch one.Type {
		case modeNode:
			next = a.deciders.Node
		case modeRBAC:
			next = authorizer.AuthorizerFunc(a.deciders.RBAC.Authorize)
			rules = append(rules, a.deciders.RBAC)
		case modeAllow:
			all := authorizerfactory.NewAlwaysAllowAuthorizer()
			next, rules = all, append(rules, all)
		case modeDeny:
			none := authorizerfactory.NewAlwaysDenyAuthorizer()
			next, rules = none, append(rules, none)
		case modeWebhook:
			w, err := a.webhook(one)
			if err != nil {
				return nil, err
			}
			next, rules = w, append(rules, w)
		}
		chain = append(chain, union.NamedAuthorizer{AuthorizerName: one.Name, Authorizer: next})
	}
	all, err := union.New(chain...)
	if err != nil {
		return nil, fmt.Errorf("assemble authorizers: %w", err)
	}
	return &decision{all, union.NewRuleResolvers(rules...)}, nil
}

func (a *Authorizer) webhook(c apiserver.AuthorizerConfiguration) (*webhook.WebhookAuthorizer, error) {
	w := c.Webhook
	config, err := webhookutil.LoadKubeconfig(*w.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: kubeconfig %s of authorizer %q: %w", a.source(), *w.ConnectionInfo.KubeConfigFile, c.Name, err)
	}
	config.Timeout = w.Timeout.Duration
	onError := authorizer.DecisionNoOpinion
	if w.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	ttl := func(on bool, d metav1.Duration) time.Duration {
		if !on {
			return 0
		}
		return d.Duration
	}
	compiler := a.compiler
	if compiler == nil && len(w.MatchConditions) > 0 {
		compiler = authorizationcel.NewDefaultCompiler()
	}
	metrics.RegisterWebhookMetrics()
	out, err := webhook.New(config, w.SubjectAccessReviewVersion, ttl(w.CacheAuthorizedRequests, w.AuthorizedTTL), ttl(w.CacheUnauthorizedRequests, w.UnauthorizedTTL),
		*options.DefaultAuthWebhookRetryBackoff(), onError, w.MatchConditions, c.Name, accessMetrics{metrics.NoopRequestMetrics{}, metrics.NewWebhookMetrics(), authorizationcel.NewMatcherMetrics()}, compiler)
	if err != nil {
		return nil, fmt.Errorf("%s: authorizer %q: %w", a.source(), c.Name, err)
	}
	return out, nil
}

// accessMetrics are those that the API server has of its webhooks.
type accessMetrics struct {
	metrics.RequestMetrics
	metrics.WebhookMetrics
	authorizationcel.MatcherMetrics
}

func (a *Authorizer) source() string {
	if a.file != "" {
		return "--authorization-config " + a.file
	}
	return "--authorization-webhook-config-file"
}

func (a *Authorizer) read() (*apiserver.AuthorizationConfiguration, []byte, error) {
	content, err := os.ReadFile(a.file)
	if err != nil {
		return nil, nil, fmt.Errorf("--authorization-config: %w", err)
	}
	c, err := load.LoadFromData(content)
	if err == nil {
		err = validation.ValidateAuthorizationConfiguration(a.compiler, nil, c, sets.New(knownModes...), sets.New(modeWebhook)).ToAggregate()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--authorization-config %s: %w", a.file, err)
	}
	return c, content, nil
}

// Follow keeps up with the file until ctx ends.
func (a *Authorizer) Follow(ctx context.Context) {
	if a.file == "" {
		return
	}
	filewatch.Follow(ctx, []string{a.file}, func(ctx context.Context) error {
		c, content, err := a.read()
		if err != nil || bytes.Equal(content, a.content) {
			return err
		}
		next, err := a.build(c)
		if err != nil {
			return err
		}
		a.content = content
		a.current.Store(next)
		klog.FromContext(ctx).Info("Authorization configuration is in force", "file", a.file)
		return nil
	})
}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	return a.current.Load().Authorize(ctx, attrs)
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attrs authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return a.current.Load().ConditionsAwareAuthorize(ctx, attrs)
}

// EvaluateConditions implements authorizer.Authorizer.
func (a *Authorizer) EvaluateConditions(ctx context.Context, d authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return a.current.Load().EvaluateConditions(ctx, d, data)
}

// RulesFor implements authorizer.RuleResolver.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return a.current.Load().RulesFor(ctx, u, namespace)
}

var (
	_ authorizer.Authorizer   = &Authorizer{}
	_ authorizer.RuleResolver = &Authorizer{}
)
