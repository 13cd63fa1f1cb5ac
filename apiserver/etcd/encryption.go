package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
)

// Encryption says how resources are encrypted before they are stored
// (https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/). The zero
// value stores all as it is.
type Encryption struct {
	// ConfigFile is an EncryptionConfiguration.
	ConfigFile string
	// AutomaticReload looks each minute whether the file has changed.
	AutomaticReload bool
}

// encrypted is the configuration at work; nil encrypts nothing.
type encrypted struct {
	transformers value.ResourceTransformers
	checks       []healthz.HealthChecker
	cancel       context.CancelFunc
	group        sync.WaitGroup
}

// serverID tells API servers apart in metrics of encryption; here is one.
const serverID = "apiserver"

// open reads the configuration and connects to the plugins that it names.
func (e Encryption) open() (_ *encrypted, err error) {
	if e.ConfigFile == "" {
		if e.AutomaticReload {
			return nil, errors.New("--encryption-provider-config-automatic-reload must be set with --encryption-provider-config")
		}
		return nil, nil
	}
	life, cancel := context.WithCancel(context.Background())
	loaded, unload := context.WithCancel(life) // a reload ends those that it replaces
	c, err := encryptionconfig.LoadEncryptionConfig(loaded, e.ConfigFile, e.AutomaticReload, serverID)
	if err != nil {
		unload()
		cancel()
		return nil, fmt.Errorf("--encryption-provider-config %s: %w", e.ConfigFile, err)
	}
	out := &encrypted{cancel: cancel, checks: c.HealthChecks, transformers: encryptionconfig.StaticTransformers(c.Transformers)}
	if !e.AutomaticReload {
		context.AfterFunc(life, unload)
		return out, nil
	}
	dynamic := encryptionconfig.NewDynamicTransformers(c.Transformers, c.HealthChecks[0], unload, c.KMSCloseGracePeriod)
	out.transformers, out.checks = dynamic, []healthz.HealthChecker{dynamic}
	reload := controller.NewDynamicEncryptionConfiguration("encryption-provider-config-automatic-reload-controller", e.ConfigFile, dynamic, c.EncryptionFileContentHash, serverID)
	out.group.Go(func() { reload.Run(life) })
	return out, nil
}

func (e *encrypted) close() {
	if e != nil {
		e.cancel()
		e.group.Wait()
	}
}

// transformer is what a resource's values go through on their way to etcd.
func (s *Store) transformer(gr schema.GroupResource) value.Transformer {
	if s.encrypted != nil {
		if t := s.encrypted.transformers.TransformerForResource(gr); t != nil {
			return t
		}
	}
	return identity.NewEncryptCheckTransformer()
}

// KeyChecks say whether those who keep the keys (KMS) can be reached.
func (s *Store) KeyChecks() []healthz.HealthChecker {
	if s.encrypted == nil {
		return nil
	}
	return s.encrypted.checks
}
