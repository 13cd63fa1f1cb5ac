package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// errAgentRuns is when a node's data directory is wanted that is in use.
var errAgentRuns = errors.New("its agent runs")

// lockAgent makes this process the only one on a node's data directory. The
// kernel releases it when the process ends, however it ends.
func lockAgent(dir string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s is in use: %w", dir, errAgentRuns), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// AgentNode is the name of the node that joined with a data directory, and
// where its images, pods' files and containerd are.
func AgentNode(dir string) (name, data string, err error) {
	var known membership
	if err := readJSON(filepath.Join(dir, agentFile), &known); err != nil {
		return "", "", fmt.Errorf("what is known of the cluster: %w", err)
	}
	return known.Node, filepath.Join(dir, agentData), nil
}

// agentData is below a node's data directory.
const agentData = "node"

// RemoveAgent ends the containers of a node whose agent does not run, takes its
// rules out of the kernel and deletes its data, certificates included. Its
// cluster is not told: that is `kubectl delete node`.
func RemoveAgent(ctx context.Context, dir string) error {
	release, err := lockAgent(dir)
	if err != nil {
		return err
	}
	defer release()
	var known membership
	if err := readJSON(filepath.Join(dir, agentFile), &known); err != nil {
		return fmt.Errorf("what is known of the cluster: %w", err)
	}
	if data := filepath.Join(dir, agentData); exists(data) { // one that is simulated has none
		if err := known.node(ctx, known.Node, data); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	return nil
}
