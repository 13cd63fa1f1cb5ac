package cluster

import (
	"context"

	"k8s.io/utils/clock"
)

// EnsureDNSService is what each agent that joins has done.
func EnsureDNSService(ctx context.Context, c *Cluster) error { return c.ensureDNSService(ctx) }

// WithCertificateClock makes certificates begin and end by a test's clock.
func WithCertificateClock(c Config, by clock.WithTicker) Config {
	c.certificateClock = by
	return c
}
