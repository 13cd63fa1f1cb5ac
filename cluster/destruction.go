package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/proxier"
)

// destruction is what a node's agent was told that whoever takes away what
// outlives it needs to know: it is kept with the node's data.
type destruction struct {
	CgroupRoot string `json:"cgroupRoot,omitempty"`
	Containerd string `json:"containerd,omitempty"` // its address, where it is not our own
	BinDir     string `json:"binDir,omitempty"`
	CNIConfDir string `json:"cniConfDir,omitempty"`
	CNIBinDir  string `json:"cniBinDir,omitempty"`
	Pool       string `json:"loadBalancerPool,omitempty"`
}

func destructionOf(n *Node) destruction {
	return destruction{n.CgroupRoot, n.ContainerdAddress, n.BinDir, n.CNIConfDir, n.CNIBinDir, n.Proxier.LoadBalancerPool}
}

// destructionFile is in the data directory of a node of this process.
const destructionFile = "agent.json"

func (d destruction) write(dir string) error {
	raw, err := json.Marshal(d)
	if err == nil {
		err = writeWhole(filepath.Join(dir, destructionFile), raw)
	}
	if err != nil {
		return fmt.Errorf("keep what the node was told: %w", err)
	}
	return nil
}

// node destroys what is left on this machine of the node of a name, whose data is
// in dir: its containers, and what carries services and answers names.
func (d destruction) node(ctx context.Context, name, dir string) error {
	agent := nodeagent.Destroy(ctx, nodeagent.Config{
		NodeName: name, DataDir: dir, NodeIP: "127.0.0.1", REST: nowhere,
		CgroupRoot: d.CgroupRoot, ContainerdAddress: d.Containerd, BinDir: d.BinDir, CNIConfDir: d.CNIConfDir, CNIBinDir: d.CNIBinDir,
	})
	return errors.Join(agent, proxier.Cleanup("", d.Pool), dns.Cleanup(""))
}

// destroyNode takes away what outlives a node whose agent does not run.
func destroyNode(ctx context.Context, dir string) error {
	var told destruction
	if err := readJSON(filepath.Join(dir, destructionFile), &told); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what the node was told: %w", err)
	}
	return told.node(ctx, filepath.Base(dir), dir)
}
