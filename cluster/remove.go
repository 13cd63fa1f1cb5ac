package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	restclient "k8s.io/client-go/rest"
)

// nowhere is the API server of a cluster that does not run.
var nowhere = &restclient.Config{Host: "https://127.0.0.1:1"}

// Remove ends the containers of a cluster that does not run, takes its rules
// out of the kernel and deletes its data.
func Remove(ctx context.Context, dir string) error {
	if err := awaitMasters(ctx, dir); err != nil {
		return err
	}
	nodes, err := os.ReadDir(filepath.Join(dir, "nodes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nodes of the cluster: %w", err)
	}
	if HasHosts(dir) {
		if err := destroyHosts(ctx, dir); err != nil {
			return err
		}
		nodes = nil // all that they had was on their hosts
	}
	for _, n := range nodes {
		if err := destroyNode(ctx, filepath.Join(dir, "nodes", n.Name())); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	return nil
}

// awaitMasters waits until the masters that are processes of their own have
// ended. Those whose supervisor was killed end within moments.
func awaitMasters(ctx context.Context, dir string) error {
	locks, err := filepath.Glob(filepath.Join(dir, "masters", "*", "lock"))
	if err != nil {
		return fmt.Errorf("masters of the cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, hostStopPatience)
	defer cancel()
	for _, lock := range locks {
		release, err := lockFile(ctx, lock)
		if err != nil {
			return fmt.Errorf("master %s has not ended: %w", filepath.Base(filepath.Dir(lock)), err)
		}
		release()
	}
	return nil
}
