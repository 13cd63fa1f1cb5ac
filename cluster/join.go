package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// Join makes a cluster's API server a further master of one that runs.
type Join struct {
	// Servers are URLs of masters, of which one must answer.
	Servers []string
	// Token is one of `skiff token create --master`.
	Token Token
}

// joinRequest asks to be let in as a master.
type joinRequest struct {
	Name    string `json:"name"`    // of the etcd member
	URL     string `json:"url"`     // where other members reach it
	Version string `json:"version"` // Kubernetes' that it serves
	Settings
}

// joinAnswer is all that a further master needs.
type joinAnswer struct {
	Members map[string]string `json:"members"` // etcd's, by name with their URLs
	Files   map[string][]byte `json:"files"`   // below the data directory
}

// Settings are what all masters of a cluster must agree on.
type Settings struct {
	ClusterDomain         string `json:"clusterDomain"`
	ClusterCIDR           string `json:"clusterCIDR"`
	ServiceClusterIPRange string `json:"serviceClusterIPRange"`
	ServiceNodePortRange  string `json:"serviceNodePortRange"`
	Encrypted             bool   `json:"encrypted"`
}

func (c *Cluster) settings() Settings {
	a := c.config.APIServer
	s := Settings{c.config.ClusterDomain, c.config.ClusterCIDR, a.ServiceClusterIPRange, a.ServiceNodePortRange, a.Etcd.Encryption.ConfigFile != ""}
	if s.ServiceNodePortRange == "" {
		s.ServiceNodePortRange = "30000-32767"
	}
	return s
}

// differ says which flags a master must be given to fit the others.
func (s Settings) differ(cluster Settings) error {
	var errs []error
	for _, f := range []struct{ flag, mine, theirs string }{
		{"cluster-domain", s.ClusterDomain, cluster.ClusterDomain},
		{"cluster-cidr", s.ClusterCIDR, cluster.ClusterCIDR},
		{"service-cluster-ip-range", s.ServiceClusterIPRange, cluster.ServiceClusterIPRange},
		{"service-node-port-range", s.ServiceNodePortRange, cluster.ServiceNodePortRange},
	} {
		if f.mine != f.theirs {
			errs = append(errs, fmt.Errorf("--%s is %s here and %s in the cluster: masters need the same", f.flag, f.mine, f.theirs))
		}
	}
	return errors.Join(errs...)
}

// joinTimeout bounds a request to be let in: etcd takes up to 7 s to trust that
// its members are connected.
const joinTimeout = 45 * time.Second

// join asks to be let in, unless this master is in already, and leaves what it
// is given where a master of its own has it.
func (c *Cluster) join(ctx context.Context) error {
	j := c.config.Join
	if j == nil {
		return nil
	}
	c.config.complete()
	e := &c.config.APIServer.Etcd
	if c.config.DataDir == "" || c.config.Listen == "" || e.Peers == nil || len(e.Servers) > 0 {
		return errors.New("join: a master needs a data directory, an address and etcd in its own process")
	}
	e.Dir = filepath.Join(c.config.DataDir, "etcd")
	if has, err := etcd.HasData(e.Dir); has || err != nil {
		return err // it has been let in before
	}
	if err := c.otherCA(j.Token); err != nil {
		return err
	}
	peers := *e.Peers
	peers.Name = peers.Advertise
	ask := joinRequest{Name: peers.Name, URL: "https://" + peers.Advertise, Version: apiserver.Version, Settings: c.settings()}
	var got joinAnswer
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	if _, err := anyOf(j.Servers, j.Token, func(p *pinned) error { return p.do(ctx, http.MethodPost, MastersPath, ask, &got) }); err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	for name, data := range got.Files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("join the cluster: it sent a file %q, which is not below the data directory", name)
		}
		path := filepath.Join(c.config.DataDir, name)
		if err := writeWhole(path, data); err != nil {
			return fmt.Errorf("join the cluster: %w", err)
		}
	}
	peers.Join = got.Members
	e.Peers = &peers
	return nil
}

// otherCA refuses a data directory with the CA of another cluster.
func (c *Cluster) otherCA(t Token) error {
	raw, err := os.ReadFile(filepath.Join(c.config.DataDir, "pki", "ca.crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	hash, err := CAHash(raw)
	if err == nil && hash != t.Hash {
		err = fmt.Errorf("data directory %s is of another cluster than the token: choose another with --data-dir", c.config.DataDir)
	}
	return err
}

// writeWhole writes a file that only its owner reads, or none.
func writeWhole(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// preparePeers gives the etcd member what others of its kind know it by.
func (c *Cluster) preparePeers() error {
	e := &c.config.APIServer.Etcd
	if e.Peers == nil {
		return nil
	}
	if c.config.DataDir == "" || len(e.Servers) > 0 {
		e.Peers = nil
		return nil
	}
	store, err := openPKI(c.dir("pki", "etcd"), c.config)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(e.Peers.Advertise)
	if err != nil {
		return fmt.Errorf("--etcd-peer-address %q: %w", e.Peers.Advertise, err)
	}
	if _, err := store.Peer("peer", peerName(host), "localhost", "127.0.0.1", "::1", host); err != nil {
		return fmt.Errorf("certificate of etcd: %w", err)
	}
	peers := *e.Peers
	peers.CertFile, peers.KeyFile = store.Files("peer")
	peers.CAFile, _ = store.Files("ca")
	e.Peers = &peers
	return c.run(context.Background(), "etcd certificates", certificates{store})
}

// SplitServers reads a list of URLs.
func SplitServers(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
