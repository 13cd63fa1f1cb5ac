package cluster

import (
	"context"
	"fmt"
	"os"

	"k8s.io/client-go/util/keyutil"

	"github.com/skiffcluster/skiff/controllers"
	"github.com/skiffcluster/skiff/scheduler"
)

// Room is a part of the cluster beside the API server.
type Room string

// The rooms that Config.Without can leave out.
const (
	Controllers Room = "controllers"
	Scheduler   Room = "scheduler"
	Nodes       Room = "nodes"
)

// startControllers runs the controllers with the rights of
// system:kube-controller-manager.
func (c *Cluster) startControllers(ctx context.Context) error {
	cfg := c.config.Controllers
	cfg.REST = c.As("system:kube-controller-manager")
	cfg.RootCA = c.pki.CA()
	if len(cfg.ClusterSigningCert) == 0 {
		cfg.ClusterSigningCert, cfg.ClusterSigningKey = c.pki.CAPair().Cert, c.pki.CAPair().Key
	}
	if cfg.Clock == nil {
		cfg.Clock = c.config.Clock
	}
	key, err := c.serviceAccountKey()
	if err != nil {
		return err
	}
	cfg.ServiceAccountKey = key
	if cfg.ClusterCIDR == "" {
		cfg.ClusterCIDR, cfg.AllocateNodeCIDRs = c.config.ClusterCIDR, true
	}
	if cfg.ServiceClusterIPRange == "" {
		cfg.ServiceClusterIPRange = c.config.APIServer.ServiceClusterIPRange
	}
	if cfg.Identity == "" {
		cfg.Identity = c.identity()
	}
	if cfg.LeaseDuration == 0 && cfg.Alone == nil {
		cfg.Alone = c.alone
	}
	room, err := controllers.New(cfg)
	if err != nil {
		return err
	}
	return c.run(ctx, "controllers", room)
}

// serviceAccountKey is the private key, PEM, that signs service-account tokens.
func (c *Cluster) serviceAccountKey() ([]byte, error) {
	accounts := c.config.APIServer.ServiceAccounts
	if accounts.SigningKeyFile != "" {
		return os.ReadFile(accounts.SigningKeyFile)
	}
	raw, err := keyutil.MarshalPrivateKeyToPEM(accounts.Key)
	if err != nil {
		return nil, fmt.Errorf("encode service account key: %w", err)
	}
	return raw, nil
}

// startScheduler runs the scheduler with the rights of system:kube-scheduler.
func (c *Cluster) startScheduler(ctx context.Context) error {
	cfg := c.config.Scheduler
	cfg.REST = c.As("system:kube-scheduler")
	if cfg.Clock == nil && c.config.Clock != nil {
		cfg.Clock = c.config.Clock
	}
	if cfg.Identity == "" {
		cfg.Identity = c.identity()
	}
	if cfg.LeaseDuration == 0 && cfg.Alone == nil {
		cfg.Alone = c.alone
	}
	room, err := scheduler.New(cfg)
	if err != nil {
		return err
	}
	return c.run(ctx, "scheduler", room)
}

// identity is this cluster's in Leases. A process that is killed and starts
// again on the same data, which no other can use meanwhile, leads at once.
func (c *Cluster) identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host + "_" + c.dir()
}

// alone says whether this is the only master. Whoever else stands for the
// cluster's Leases can do nothing once this process, and with it the API, has
// gone: they need not learn of it soon.
func (c *Cluster) alone() bool {
	select {
	case <-c.serving:
		return c.api.Data().Alone()
	default:
		return false
	}
}
