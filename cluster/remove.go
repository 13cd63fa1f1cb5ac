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
