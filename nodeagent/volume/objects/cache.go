package objects

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var errNotYet = errors.New("not yet written")

// Config of a [Cache].
type Config struct {
	REST *rest.Config
	// Client takes the place of REST, if it is there already.
	Client kubernetes.Interface
}

// Cache holds what the registered pods name.
type Cache struct{}

// New makes a cache, which watches nothing before Register.
func New(cfg Config) (*Cache, error) { return nil, errNotYet }

// Run ends all watches when ctx ends.
func (c *Cache) Run(ctx context.Context) error { return errNotYet }

// Register begins to watch what a pod names. A pod registered again replaces
// itself.
func (c *Cache) Register(pod *corev1.Pod) {}

// Unregister ends the watches that no other pod needs.
func (c *Cache) Unregister(uid types.UID) {}

// ConfigMap gives a ConfigMap, waiting until its watch has begun. It must not
// be changed.
func (c *Cache) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return nil, errNotYet
}

// Secret gives a Secret, waiting until its watch has begun. It must not be
// changed.
func (c *Cache) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return nil, errNotYet
}

// Changed gives the pods that must be looked at again, each once for each
// change of what it names. There is one reader.
func (c *Cache) Changed() <-chan types.UID { return nil }
