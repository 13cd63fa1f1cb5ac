package main

import (
	"context"
	"time"

	"github.com/skiffcluster/skiff/test/bench/load"
)

// crdLatency is from the creation of a definition to the first object stored.
func crdLatency(ctx context.Context) (string, error) {
	s, err := start(ctx, "in-process")
	if err != nil {
		return "", err
	}
	defer s.stop()
	i := 0
	return repeat(9, func() (time.Duration, error) {
		i++
		return load.DefinitionLatency(ctx, s.rest, i)
	})
}
