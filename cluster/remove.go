package cluster

import (
	"context"
	"fmt"
	"os"
)

// Remove deletes the data of a cluster that does not run, its containers
// included.
func Remove(_ context.Context, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	return nil
}
