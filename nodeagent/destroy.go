package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/skiffcluster/skiff/nodeagent/network"
	"github.com/skiffcluster/skiff/nodeagent/network/cni"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Destroy ends all that outlives the agent of a configuration: containers,
// sandboxes, links, mounts, and a containerd of its own. Images and files stay
// for who removes the data directory. The agent itself must not be running.
func Destroy(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	if cfg.inMemory() {
		return nil
	}
	a := &Agent{cfg: cfg}
	if err := errors.Join(a.prepareRuntime(), a.prepareNetwork()); err != nil {
		return fmt.Errorf("destroy node: %w", err)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, len(a.engine.run))
	for _, run := range a.engine.run {
		wg.Go(func() { failed <- run(running) })
	}
	err := func() error {
		select {
		case <-a.engine.ready:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		err := disconnect(ctx, a.network)
		return errors.Join(err, removeAll(ctx, a.engine))
	}()
	cancel()
	wg.Wait()
	if bridge, ok := a.network.(interface {
		Remove() error
		Close()
	}); ok {
		err = errors.Join(err, bridge.Remove())
		if a.policies != nil {
			err = errors.Join(err, a.policies.table.Remove())
		}
		bridge.Close()
	}
	err = errors.Join(err, a.engine.stop(ctx), unmountBelow(filepath.Join(cfg.DataDir, "pods")), unmountBelow(filepath.Join(cfg.DataDir, "run")))
	if err != nil {
		return fmt.Errorf("destroy node: %w", err)
	}
	for _, dir := range []string{"run", "runtime", "pods", "network", "cni"} {
		if err := os.RemoveAll(filepath.Join(cfg.DataDir, dir)); err != nil {
			return fmt.Errorf("destroy node: %w", err)
		}
	}
	return nil
}

// disconnect has plugins undo what they did. The built-in network goes as a
// whole.
func disconnect(ctx context.Context, n network.Network) error {
	plugins, ok := n.(*cni.Network)
	if !ok {
		return nil
	}
	var errs []error
	for _, id := range plugins.Pods() {
		errs = append(errs, plugins.Detach(ctx, id))
	}
	return errors.Join(errs...)
}

// removeAll kills and removes all containers and sandboxes.
func removeAll(ctx context.Context, rt runtime.Runtime) error {
	sandboxes, containers, err := rt.List(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for i := range containers {
		wg.Go(func() {
			c := &containers[i]
			var err error
			if c.State == runtime.Running {
				err = rt.Kill(ctx, c.ID)
			}
			if err == nil {
				err = rt.Remove(ctx, c.ID)
			}
			if err != nil && !errors.Is(err, runtime.ErrNotFound) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i := range sandboxes {
		errs = append(errs, rt.RemoveSandbox(ctx, sandboxes[i].ID))
	}
	return errors.Join(errs...)
}
