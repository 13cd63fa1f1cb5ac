package cluster

import "k8s.io/utils/clock"

// WithCertificateClock makes certificates begin and end by a test's clock.
func WithCertificateClock(c Config, by clock.WithTicker) Config {
	c.certificateClock = by
	return c
}
