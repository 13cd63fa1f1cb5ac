package auth

import (
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/server/options"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
)

// TokenWebhook asks a server whose a bearer token is, by a TokenReview.
type TokenWebhook struct {
	// ConfigFile is a kubeconfig whose cluster is that server.
	ConfigFile string
	Version    string        // of the TokenReview; default v1beta1
	CacheTTL   time.Duration // how long an answer is kept; default 2m
}

func (w TokenWebhook) open(audiences authenticator.Audiences) (authenticator.Token, error) {
	version, ttl := w.Version, w.CacheTTL
	if version == "" {
		version = "v1beta1"
	}
	if ttl == 0 {
		ttl = 2 * time.Minute
	}
	config, err := webhookutil.LoadKubeconfig(w.ConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-config-file %s: %w", w.ConfigFile, err)
	}
	t, err := webhook.New(config, version, audiences, *options.DefaultAuthWebhookRetryBackoff())
	if err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-version %s: %w", version, err)
	}
	return cache.New(t, false, ttl, ttl), nil
}
