package cluster

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster/pki"
)

// What masters answer beside the API. RBAC knows them as non-resource URLs.
const (
	MastersPath    = "/skiff/v1/masters"    // GET: list; POST: join; DELETE ?name=: remove
	ClusterPath    = "/skiff/v1/cluster"    // GET ?version=: what an agent needs to know
	DefragmentPath = "/skiff/v1/defragment" // POST: of the master that answers
	SnapshotPath   = "/skiff/v1/snapshot"   // GET: an archive
)

// encryptionFile is where a master that joined or was restored keeps the
// cluster's EncryptionConfiguration.
const encryptionFile = "encryption.yaml"

// findEncryption takes what this master was given when it joined, or was restored
// from a snapshot, at each start that names no other file: its secrets can't be
// read without.
func (c *Cluster) findEncryption() error {
	e := &c.config.APIServer.Etcd.Encryption
	if e.ConfigFile != "" || c.config.DataDir == "" {
		return nil
	}
	given := c.dir(encryptionFile)
	switch _, err := os.Stat(given); {
	case err == nil:
		e.ConfigFile = given
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("encryption configuration: %w", err)
	}
	return nil
}

// paths are the handlers of all.
func (c *Cluster) paths() map[string]http.Handler {
	return map[string]http.Handler{
		MastersPath:    answers(c.answerMasters),
		ClusterPath:    answers(c.answerCluster),
		DefragmentPath: answers(c.answerDefragment),
		SnapshotPath:   http.HandlerFunc(c.answerSnapshot),
	}
}

// refusal is an answer to a request that is wrong.
type refusal struct{ error }

// answers makes a handler of JSON.
func answers(do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := do(r)
		var no refusal
		switch {
		case errors.As(err, &no):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out) // whoever asked is gone
		}
	})
}

func (c *Cluster) answerMasters(r *http.Request) (any, error) {
	switch r.Method {
	case http.MethodGet:
		return c.api.Data().Members(r.Context())
	case http.MethodDelete:
		name := r.URL.Query().Get("name")
		klog.FromContext(r.Context()).Info("Master is removed", "name", name, "by", userOf(r.Context()))
		return struct{}{}, c.api.Data().Remove(r.Context(), name)
	case http.MethodPost:
		var ask joinRequest
		if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(&ask); err != nil {
			return nil, refusal{fmt.Errorf("request to join: %w", err)}
		}
		return c.letIn(r.Context(), ask)
	}
	return nil, refusal{fmt.Errorf("method %s is not known here", r.Method)}
}

// letIn answers a machine that wants to be a master.
func (c *Cluster) letIn(ctx context.Context, ask joinRequest) (*joinAnswer, error) {
	if err := checkMasterVersion(ask.Version); err != nil {
		return nil, refusal{err}
	}
	if err := ask.differ(c.settings()); err != nil {
		return nil, refusal{err}
	}
	files, err := sharedFiles(c.dir())
	if err != nil {
		return nil, err
	}
	if file := c.config.APIServer.Etcd.Encryption.ConfigFile; file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("encryption configuration: %w", err)
		}
		files[encryptionFile] = raw
	}
	members, err := c.api.Data().Add(ctx, ask.Name, ask.URL)
	if err != nil {
		return nil, err
	}
	klog.FromContext(ctx).Info("Master joins", "name", ask.Name, "by", userOf(ctx))
	return &joinAnswer{Members: members, Files: files}, nil
}

func userOf(ctx context.Context) string {
	if u, ok := request.UserFrom(ctx); ok {
		return u.GetName()
	}
	return ""
}

// sharedFiles are the CAs and keys in the data directory dir that all masters
// have, by their path below it.
func sharedFiles(dir string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := filepath.WalkDir(filepath.Join(dir, "pki"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !pki.Shared(path, exists, certificateIn) {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		out[name] = raw
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("certificates of the cluster: %w", err)
	}
	return out, nil
}

// ShareKeys gives the master whose data is to be in to the CAs and keys of the
// cluster whose data is in from, as those are given that join. A cluster begins
// with a CA. A master that has one keeps what it has.
func ShareKeys(from, to string) error {
	if exists(filepath.Join(to, "pki", "ca.crt")) {
		return nil
	}
	if _, err := pki.Open(filepath.Join(from, "pki"), clock.RealClock{}); err != nil {
		return err
	}
	files, err := sharedFiles(from)
	if err != nil {
		return err
	}
	last := filepath.Join("pki", "ca.crt") // it says that all is there
	for name, data := range files {
		if name != last {
			err = errors.Join(err, writeWhole(filepath.Join(to, name), data))
		}
	}
	if err == nil {
		err = writeWhole(filepath.Join(to, last), files[last])
	}
	if err != nil {
		return fmt.Errorf("keys of a master: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// certificateIn is the first certificate of a PEM file; nil when there is none.
func certificateIn(path string) *x509.Certificate {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return c
}

// checkMasterVersion: API servers of one cluster are at most one minor version
// apart (https://kubernetes.io/releases/version-skew-policy/#kube-apiserver).
func checkMasterVersion(v string) error {
	theirs, err := version.ParseSemantic(v)
	if err != nil {
		return fmt.Errorf("version %q: %w", v, err)
	}
	mine := version.MustParseSemantic(apiserver.Version)
	if theirs.Major() != mine.Major() || max(theirs.Minor(), mine.Minor())-min(theirs.Minor(), mine.Minor()) > 1 {
		return fmt.Errorf("a master of version %s can't join a cluster of version %s: masters are at most one minor version apart", v, apiserver.Version)
	}
	return nil
}

// checkAgentVersion: an agent is never newer than the API server, and up to
// three minor versions older (the same policy, kubelet).
func checkAgentVersion(v string) error {
	theirs, err := version.ParseSemantic(v)
	if err != nil {
		return fmt.Errorf("version %q: %w", v, err)
	}
	mine := version.MustParseSemantic(apiserver.Version)
	switch {
	case theirs.Major() != mine.Major() || theirs.Minor() > mine.Minor():
		return fmt.Errorf("a node agent of version %s can't join a cluster of version %s: it must not be newer; upgrade the masters first", v, apiserver.Version)
	case mine.Minor()-theirs.Minor() > 3:
		return fmt.Errorf("a node agent of version %s can't join a cluster of version %s: it may be at most three minor versions older; upgrade it", v, apiserver.Version)
	}
	return nil
}

// clusterAnswer is what an agent needs to know of its cluster.
type clusterAnswer struct {
	Settings
	ClusterDNS string   `json:"clusterDNS"`
	Servers    []string `json:"servers"` // host:port of this master
}

func (c *Cluster) answerCluster(r *http.Request) (any, error) {
	if v := r.URL.Query().Get("version"); v != "" {
		if err := checkAgentVersion(v); err != nil {
			return nil, refusal{err}
		}
	}
	ip, err := c.dnsAddress()
	if err != nil {
		return nil, err
	}
	// Whoever asks will answer names on that address.
	if err := c.ensureDNSService(r.Context()); err != nil {
		return nil, err
	}
	return clusterAnswer{Settings: c.settings(), ClusterDNS: ip.String()}, nil
}

func (c *Cluster) answerDefragment(r *http.Request) (any, error) {
	if r.Method != http.MethodPost {
		return nil, refusal{fmt.Errorf("method %s is not known here", r.Method)}
	}
	before, _ := c.api.Data().Size()
	if err := c.api.Data().Defragment(); err != nil {
		return nil, err
	}
	after, used := c.api.Data().Size()
	return map[string]int64{"before": before, "after": after, "used": used}, nil
}

func openPKI(dir string, config Config) (*pki.Store, error) {
	s, err := pki.Open(dir, config.certificateClock)
	if err != nil {
		return nil, fmt.Errorf("certificates of etcd: %w", err)
	}
	return s, nil
}

func peerName(host string) pkix.Name { return pkix.Name{CommonName: "skiff-etcd-" + host} }
