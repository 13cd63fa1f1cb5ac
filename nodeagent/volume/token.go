package volume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

const (
	// defaultTokenSeconds is how long a token lives where the pod does not say.
	defaultTokenSeconds = 3600
	// maxTokenAge is when a token is renewed at the latest, as the kubelet does.
	maxTokenAge = 24 * time.Hour
	// tokenRetry is when a token that could not be renewed is asked for again.
	tokenRetry = 30 * time.Second
)

// tokens asks for the service-account tokens of pods and keeps them until they
// are to be renewed, at 80 % of their life.
type tokens struct {
	client kubernetes.Interface
	clock  clock.PassiveClock

	mu    sync.Mutex
	known map[tokenKey]token
}

type tokenKey struct {
	pod      types.UID
	audience string
	seconds  int64
}

type token struct {
	text             string
	refresh, expires time.Time
}

func newTokens(client kubernetes.Interface, c clock.PassiveClock) *tokens {
	return &tokens{client: client, clock: c, known: map[tokenKey]token{}}
}

// get gives a token bound to the pod.
func (t *tokens) get(ctx context.Context, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection) (string, error) {
	key := tokenKey{pod: pod.UID, audience: s.Audience, seconds: defaultTokenSeconds}
	if s.ExpirationSeconds != nil {
		key.seconds = *s.ExpirationSeconds
	}
	now := t.clock.Now()
	t.mu.Lock()
	have, ok := t.known[key]
	t.mu.Unlock()
	if ok && now.Before(have.refresh) {
		return have.text, nil
	}
	fresh, err := t.request(ctx, pod, key)
	switch {
	case err == nil:
	case ok && now.Before(have.expires):
		// It still serves: try again soon.
		fresh = have
		fresh.refresh = now.Add(tokenRetry)
	default:
		return "", fmt.Errorf("failed to fetch token: %w", err)
	}
	t.mu.Lock()
	t.known[key] = fresh
	t.mu.Unlock()
	return fresh.text, nil
}

func (t *tokens) request(ctx context.Context, pod *corev1.Pod, key tokenKey) (token, error) {
	if t.client == nil {
		return token{}, errors.New("this node has no client")
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &key.seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
		},
	}}
	if key.audience != "" {
		request.Spec.Audiences = []string{key.audience}
	}
	asked := t.clock.Now()
	answer, err := t.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return token{}, err
	}
	expires := answer.Status.ExpirationTimestamp.Time
	return token{
		text:    answer.Status.Token,
		expires: expires,
		refresh: refreshAt(asked, expires),
	}, nil
}

// refreshAt is when a token is to be renewed: at 80 % of its life, and after a
// day at the latest.
func refreshAt(asked, expires time.Time) time.Time {
	life := expires.Sub(asked) * 8 / 10
	return asked.Add(min(life, maxTokenAge))
}

// next is when a token of the pod is to be renewed, zero if it has none.
func (t *tokens) next(uid types.UID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var next time.Time
	for key, have := range t.known {
		if key.pod == uid {
			next = earliest(next, have.refresh)
		}
	}
	return next
}

// forget drops the tokens of a pod.
func (t *tokens) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.known {
		if key.pod == uid {
			delete(t.known, key)
		}
	}
}
