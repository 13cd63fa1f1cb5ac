package podcertificate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// maxJitter keeps certificates that were issued together from being renewed
	// together, and overdue is how long after the time for it a renewal that has
	// not come is told of: the kubelet's numbers.
	maxJitter = 5 * time.Minute
	overdue   = 10 * time.Minute
	// retryDelay doubles up to maxRetryDelay between requests that could not be
	// made or that were deleted.
	retryDelay    = 100 * time.Millisecond
	maxRetryDelay = 2 * time.Minute
)

// Config of an [Issuer]. All fields are needed.
type Config struct {
	Client kubernetes.Interface
	// Node gives the agent's Node, nil as long as it is not known.
	Node func() *corev1.Node
	// Event records a Warning of a pod.
	Event func(pod *corev1.Pod, reason, message string)
	// Changed is told of a pod after each answer to a request for it.
	Changed func(uid types.UID)
	Clock   clock.WithTicker
}

// Issuer gets and renews the certificates of one node's pods.
type Issuer struct {
	cfg  Config
	ctx  context.Context //nolint:containedctx // Its life, for those who renew.
	stop context.CancelFunc

	mu      sync.Mutex
	pods    map[types.UID]*holder
	keepers sync.WaitGroup
}

// holder has the credentials of one pod.
type holder struct {
	ctx         context.Context //nolint:containedctx // The pod's life.
	forget      context.CancelFunc
	credentials map[place]*credential
}

// place is where a pod mounts a credential: a source of a projected volume.
type place struct {
	volume string
	source int
}

// New makes an Issuer; nothing is asked for before Get.
func New(cfg Config) *Issuer {
	i := &Issuer{cfg: cfg, pods: map[types.UID]*holder{}}
	i.ctx, i.stop = context.WithCancel(context.Background())
	return i
}

// Stop ends all that is under way, and waits for it.
func (i *Issuer) Stop() {
	i.mu.Lock()
	i.stop()
	i.mu.Unlock()
	i.keepers.Wait()
}

// Forget drops the credentials of a pod.
func (i *Issuer) Forget(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if h, ok := i.pods[uid]; ok {
		h.forget()
		delete(i.pods, uid)
	}
}

// Get gives the key and the chain of certificates of a source of a volume, PEM.
// The first call begins to ask for them; until they are there, or when a signer
// has refused, the error says so in the kubelet's words.
func (i *Issuer) Get(pod *corev1.Pod, volume string, source int) (key, chain []byte, err error) {
	return i.credential(pod, volume, source).get()
}

// Await has all credentials of a volume asked for, and waits until all are
// answered or ctx ends.
func (i *Issuer) Await(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) {
	var asked []*credential
	if volume.Projected != nil {
		for source := range volume.Projected.Sources {
			if volume.Projected.Sources[source].PodCertificate != nil {
				asked = append(asked, i.credential(pod, volume.Name, source))
			}
		}
	}
	for _, c := range asked {
		select {
		case <-ctx.Done():
		case <-c.answered:
		}
	}
}

// credential finds one, and begins it.
func (i *Issuer) credential(pod *corev1.Pod, volume string, source int) *credential {
	i.mu.Lock()
	defer i.mu.Unlock()
	h, ok := i.pods[pod.UID]
	if !ok {
		h = &holder{credentials: map[place]*credential{}}
		h.ctx, h.forget = context.WithCancel(i.ctx)
		i.pods[pod.UID] = h
	}
	at := place{volume, source}
	c, ok := h.credentials[at]
	if !ok {
		c = &credential{answered: make(chan struct{}), err: errNotIssued}
		h.credentials[at] = c
		if wanted := projection(pod, at); wanted != nil && i.ctx.Err() == nil {
			i.keepers.Go(func() { i.keep(h.ctx, pod, wanted, c) })
		}
	}
	return c
}

// projection finds what a pod says of a credential.
func projection(pod *corev1.Pod, at place) *corev1.PodCertificateProjection {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name == at.volume && v.Projected != nil && at.source < len(v.Projected.Sources) {
			return v.Projected.Sources[at.source].PodCertificate
		}
	}
	return nil
}

// errNotIssued is the kubelet's text.
var errNotIssued = errors.New("credential bundle is not issued yet")

// credential is the newest answer for one place.
type credential struct {
	answered chan struct{} // closed with the first

	mu   sync.Mutex
	have *issued
	err  error
}

func (c *credential) get() (key, chain []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, nil, c.err
	}
	return c.have.key, c.have.chain, nil
}

// answer takes what was issued, or that nothing ever will be.
func (c *credential) answer(got *issued, err error) {
	c.mu.Lock()
	c.have, c.err = got, err
	c.mu.Unlock()
	select {
	case <-c.answered:
	default:
		close(c.answered)
	}
}

// delayed says why there is no first answer yet.
func (c *credential) delayed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.have == nil {
		c.err = fmt.Errorf("%w: %w", errNotIssued, err)
	}
}

// keep gets a credential and renews it until ctx ends or a signer refuses.
func (i *Issuer) keep(ctx context.Context, pod *corev1.Pod, wanted *corev1.PodCertificateProjection, c *credential) {
	got, err := i.obtain(ctx, pod, wanted, c)
	for ctx.Err() == nil {
		c.answer(got, err)
		i.cfg.Changed(pod.UID)
		if err != nil || !i.sleep(ctx, got.refresh) {
			return
		}
		got, err = i.renew(ctx, pod, wanted, c, got)
	}
}

// renew is obtain for what is there already; when it takes too long, events say
// so.
func (i *Issuer) renew(ctx context.Context, pod *corev1.Pod, wanted *corev1.PodCertificateProjection, c *credential, old *issued) (*issued, error) {
	waiting, done := context.WithCancel(ctx)
	var teller sync.WaitGroup
	teller.Go(func() {
		for _, w := range planWarnings(old) {
			if !i.sleep(waiting, w.at) {
				return
			}
			i.cfg.Event(pod, w.reason, w.message)
		}
	})
	got, err := i.obtain(ctx, pod, wanted, c)
	done()
	teller.Wait()
	return got, err
}

// warning is an event that is due when a certificate was not renewed by then.
type warning struct {
	at              time.Time
	reason, message string
}

// planWarnings gives the warnings about a certificate that is not renewed, in
// order.
func planWarnings(old *issued) []warning {
	late := warning{old.refresh.Add(overdue), "CertificateOverdueForRefresh", "PodCertificate refresh overdue"}
	expired := warning{old.expires, "CertificateExpired", "PodCertificate expired"}
	if expired.at.Before(late.at) {
		return []warning{expired, late}
	}
	return []warning{late, expired}
}

// obtain asks until something is issued. The error says that a signer has
// refused, or that ctx has ended.
func (i *Issuer) obtain(ctx context.Context, pod *corev1.Pod, wanted *corev1.PodCertificateProjection, c *credential) (*issued, error) {
	for delay := retryDelay; ; delay = min(2*delay, maxRetryDelay) {
		got, err := i.ask(ctx, pod, wanted)
		var refused *refusal
		switch {
		case err == nil:
			got.refresh = got.refresh.Add(rand.N(maxJitter))
			return got, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &refused):
			i.cfg.Event(pod, refused.condition, refused.event)
			return nil, refused
		}
		c.delayed(err)
		klog.FromContext(ctx).V(1).Info("Pod gets no certificate yet", "Pod", klog.KObj(pod), "signer", wanted.SignerName, "reason", err.Error())
		if !i.sleep(ctx, i.cfg.Clock.Now().Add(delay)) {
			return nil, ctx.Err()
		}
	}
}

// sleep waits for a time, and says whether it came before the end of ctx.
func (i *Issuer) sleep(ctx context.Context, until time.Time) bool {
	timer := i.cfg.Clock.NewTimer(max(0, until.Sub(i.cfg.Clock.Now())))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}
