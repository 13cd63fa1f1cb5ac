package nodeagent

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/containerd"
)

// engine is the runtime and what keeps it alive.
type engine struct {
	runtime.Runtime
	// run is everything that runs until ctx ends.
	run []func(ctx context.Context) error
	// ready is closed once containers are known.
	ready <-chan struct{}
	// stop ends what outlives the agent.
	stop func(ctx context.Context) error
}

// startContainerd prepares containerd: the one that is given, or one of our
// own.
func startContainerd(cfg *Config) (*engine, error) {
	dir := filepath.Join(cfg.DataDir, "containerd")
	run := filepath.Join(cfg.DataDir, "run")
	rc := containerd.Config{
		Address: cfg.ContainerdAddress, RunDir: run, StateDir: filepath.Join(cfg.DataDir, "runtime"), CgroupRoot: cfg.CgroupRoot,
		HostsDir: filepath.Join(cfg.DataDir, "certs.d"), SeccompDir: filepath.Join(cfg.DataDir, "seccomp"),
	}
	e := &engine{}
	stop := func(context.Context) error { return nil }
	if rc.Address == "" {
		s, err := containerd.NewSupervisor(containerd.SupervisorConfig{BinDir: cfg.BinDir, DataDir: dir, RunDir: run})
		if err != nil {
			return nil, err
		}
		rc.Address, rc.RuncBinary, rc.RuncRoot = s.Address(), s.RuncBinary(), s.RuncRoot()
		e.run = append(e.run, s.Run)
		stop = s.Stop
	}
	rt, err := containerd.New(rc)
	if err != nil {
		return nil, err
	}
	e.Runtime, e.ready = rt, rt.Ready()
	e.stop = func(ctx context.Context) error { return errors.Join(stop(ctx), rt.RemoveCgroups()) }
	e.run = append(e.run, rt.Run)
	return e, nil
}
