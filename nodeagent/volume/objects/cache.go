package objects

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// syncTimeout is how long a caller waits for a watch to begin before it asks
// the API server directly, which also tells it what is wrong.
const syncTimeout = time.Second

// Config of a [Cache].
type Config struct {
	REST *rest.Config
	// Client takes the place of REST, if it is there already.
	Client kubernetes.Interface
}

// Cache holds what the registered pods name.
type Cache struct {
	client  kubernetes.Interface
	ctx     context.Context //nolint:containedctx // The life of all watches, which begin in Register and end with Run.
	cancel  context.CancelFunc
	watches sync.WaitGroup

	mu      sync.Mutex
	pods    map[types.UID][]key
	entries map[key]*entry

	changes changes
}

// New makes a cache, which watches nothing before Register.
func New(cfg Config) (*Cache, error) {
	client := cfg.Client
	if client == nil {
		if cfg.REST == nil {
			return nil, errors.New("objects: Config.REST is not set")
		}
		var err error
		if client, err = kubernetes.NewForConfig(cfg.REST); err != nil {
			return nil, fmt.Errorf("make a client: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Cache{
		client:  client,
		ctx:     ctx,
		cancel:  cancel,
		pods:    map[types.UID][]key{},
		entries: map[key]*entry{},
		changes: newChanges(),
	}, nil
}

// Run ends all watches when ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	<-ctx.Done()
	c.mu.Lock()
	c.cancel() // after which Register begins no more watches
	c.mu.Unlock()
	c.watches.Wait()
	return nil
}

// Register begins to watch what a pod names. A pod registered again replaces
// itself.
func (c *Cache) Register(pod *corev1.Pod) {
	keys := references(pod)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		c.acquire(k, pod.UID)
	}
	old := c.pods[pod.UID]
	c.pods[pod.UID] = keys
	for _, k := range old {
		c.release(k, pod.UID)
	}
}

// Unregister ends the watches that no other pod needs.
func (c *Cache) Unregister(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.pods[uid]
	delete(c.pods, uid)
	for _, k := range old {
		c.release(k, uid)
	}
}

// acquire counts one reference of a pod; c.mu is held.
func (c *Cache) acquire(k key, uid types.UID) {
	e := c.entries[k]
	if e == nil {
		ctx, cancel := context.WithCancel(c.ctx)
		e = newEntry(cancel, func() { c.changed(k) })
		c.entries[k] = e
		if ctx.Err() == nil {
			c.watches.Go(func() { e.watch(ctx, c.client, k) })
		}
	}
	e.pods[uid]++
}

// release drops one reference of a pod; c.mu is held.
func (c *Cache) release(k key, uid types.UID) {
	e := c.entries[k]
	if e.pods[uid]--; e.pods[uid] <= 0 {
		delete(e.pods, uid)
	}
	if len(e.pods) == 0 {
		e.stop()
		delete(c.entries, k)
	}
}

// changed tells the pods that name k that it is not what it was.
func (c *Cache) changed(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[k]; e != nil {
		for uid := range e.pods {
			c.changes.add(uid)
		}
	}
}

// ConfigMap gives a ConfigMap, waiting until its watch has begun; one that no
// registered pod names is read from the API server. It must not be changed.
func (c *Cache) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	k := key{configMap, namespace, name}
	object, known := c.lookup(ctx, k)
	if !known {
		m, err := c.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		return m, k.error(err)
	}
	if m, ok := object.(*corev1.ConfigMap); ok {
		return m, nil
	}
	return nil, k.notFound()
}

// Secret gives a Secret, waiting until its watch has begun; one that no
// registered pod names is read from the API server. It must not be changed.
func (c *Cache) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	k := key{secret, namespace, name}
	object, known := c.lookup(ctx, k)
	if !known {
		s, err := c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		return s, k.error(err)
	}
	if s, ok := object.(*corev1.Secret); ok {
		return s, nil
	}
	return nil, k.notFound()
}

// lookup gives what a watch says of an object, nil if it is not there. It is
// not known where there is no watch or it does not begin in time.
func (c *Cache) lookup(ctx context.Context, k key) (object metav1.Object, known bool) {
	c.mu.Lock()
	e := c.entries[k]
	c.mu.Unlock()
	if e == nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	select {
	case <-e.synced:
		return e.get(), true
	case <-ctx.Done():
		e.late.Store(true)
		return nil, false
	}
}

// Changed is readable when [Cache.TakeChanged] has something to give.
func (c *Cache) Changed() <-chan struct{} { return c.changes.ready }

// TakeChanged gives the pods that name something that has changed since the
// last call, each once.
func (c *Cache) TakeChanged() []types.UID { return c.changes.take() }

// kind of an object, as messages name it.
type kind string

const (
	configMap kind = "configmap"
	secret    kind = "secret"
)

type key struct {
	kind            kind
	namespace, name string
}

// notFound is the kubelet's error, which names the kind in the singular.
func (k key) notFound() error {
	return apierrors.NewNotFound(corev1.Resource(string(k.kind)), k.name)
}

func (k key) error(err error) error {
	if apierrors.IsNotFound(err) {
		return k.notFound()
	}
	return err
}
