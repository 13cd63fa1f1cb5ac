//go:build !linux

package nodeagent

import (
	"context"
	"errors"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

type engine struct {
	runtime.Runtime
	run   []func(ctx context.Context) error
	ready <-chan struct{}
	stop  func(ctx context.Context) error
}

func startContainerd(*Config) (*engine, error) {
	return nil, errors.New("containers need Linux: use the simulated runtime")
}
