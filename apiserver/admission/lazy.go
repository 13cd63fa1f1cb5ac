package admission

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Presence says whether a resource has objects. Known is closed once that was
// looked up, and Some once there is one; Some is closed before Known where
// there was one from the start.
type Presence struct{ Known, Some <-chan struct{} }

// lazy is a plugin that acts on objects of some kind and is made when the
// first of them exists. Most clusters of tests never have one, and the
// plugins are costly: informers, a CEL environment, timers.
type lazy struct {
	operations []admission.Operation
	presence   Presence
	plugin     func() (admission.Interface, error)
}

// readyTimeout is how long a request waits for a plugin, as upstream's do.
const readyTimeout = 10 * time.Second

func newLazy(c Config, gr schema.GroupResource, build func(Config) (admission.Interface, error), ops ...admission.Operation) *lazy {
	return &lazy{operations: ops, presence: c.Presence(gr), plugin: onceBuilt(func() (admission.Interface, error) { return build(c) })}
}

// onceBuilt keeps what build gives. A failure is not kept: on a machine that is
// overloaded it may take longer than a request waits, and the next one tries
// again.
func onceBuilt(build func() (admission.Interface, error)) func() (admission.Interface, error) {
	var mu sync.Mutex
	var built admission.Interface
	return func() (admission.Interface, error) {
		mu.Lock()
		defer mu.Unlock()
		if built != nil {
			return built, nil
		}
		p, err := build()
		if err == nil {
			built = p
		}
		return p, err
	}
}

func (l *lazy) Handles(op admission.Operation) bool {
	for _, o := range l.operations {
		if o == op {
			return true
		}
	}
	return false
}

// get is the plugin, or nil while there is nothing for it to do.
func (l *lazy) get(ctx context.Context, a admission.Attributes) (admission.Interface, error) {
	select {
	case <-l.presence.Some:
	default:
		select {
		case <-l.presence.Known:
			select {
			case <-l.presence.Some:
			default:
				return nil, nil //nolint:nilnil // nothing to do is no error
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readyTimeout):
			return nil, admission.NewForbidden(a, fmt.Errorf("not yet ready to handle request"))
		}
	}
	p, err := l.plugin()
	if err != nil {
		return nil, admission.NewForbidden(a, err)
	}
	if !p.Handles(a.GetOperation()) {
		return nil, nil //nolint:nilnil // as above
	}
	return p, nil
}

// lazyMutation is a lazy plugin that changes objects.
type lazyMutation struct{ *lazy }

// Admit implements admission.MutationInterface.
func (l lazyMutation) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	p, err := l.get(ctx, a)
	if m, ok := p.(admission.MutationInterface); ok && err == nil {
		return m.Admit(ctx, a, o)
	}
	return err
}

// lazyValidation is a lazy plugin that checks objects.
type lazyValidation struct{ *lazy }

// Validate implements admission.ValidationInterface.
func (l lazyValidation) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	p, err := l.get(ctx, a)
	if v, ok := p.(admission.ValidationInterface); ok && err == nil {
		return v.Validate(ctx, a, o)
	}
	return err
}

// fill starts informers and waits until they have what is stored: plugins ask
// for it every 100 ms only, which the first request would wait for.
func fill(c Config, list ...cache.SharedIndexInformer) error {
	if c.starting {
		return nil
	}
	c.Informers.Start(c.Stop)
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) {
		for _, i := range list {
			if !i.HasSynced() {
				return false, nil
			}
		}
		return true, nil
	})
}

// delivered waits until an informer has told what it has to those who asked
// before.
func delivered(c Config, i cache.SharedIndexInformer) error {
	if c.starting {
		return nil
	}
	h, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{})
	if err != nil {
		return err
	}
	defer func() { _ = i.RemoveEventHandler(h) }()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) { return h.HasSynced(), nil })
}

// atOnce is for a plugin that is made before the server answers: when something
// is said to it, which may be wrong, or name manifests that are in force from the
// first request on. Requests wait for its informers.
func (c Config) atOnce() Config {
	c.starting = true
	return c
}

func namespaceInformer(f informers.SharedInformerFactory) cache.SharedIndexInformer {
	return f.Core().V1().Namespaces().Informer()
}
