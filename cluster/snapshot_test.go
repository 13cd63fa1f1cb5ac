package cluster_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/cluster"
)

func TestASnapshotBringsTheClusterBack(t *testing.T) {
	c := newMaster(t).start(t, nil)
	keep(t, clientOf(t, c), "kept")
	file := filepath.Join(t.TempDir(), "s"+cluster.SnapshotSuffix)
	info, err := cluster.SaveSnapshot(file, func(w io.Writer) error { return c.WriteSnapshot(t.Context(), w) })
	if err != nil {
		t.Fatal(err)
	}
	keep(t, clientOf(t, c), "lost")
	if s, err := os.Stat(file); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: keys are in it", s.Mode(), err)
	}
	if read, err := cluster.ReadSnapshot(file); err != nil || read.Revision != info.Revision || read.Keys == 0 {
		t.Errorf("%+v %v", read, err)
	}
	ca := string(c.CA())
	c.Stop()

	fresh := newMaster(t)
	if _, err := cluster.RestoreSnapshot(file, fresh.dir); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(fresh.dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	restored := fresh.start(t, nil)
	maps := clientOf(t, restored).CoreV1().ConfigMaps("default")
	if _, err := maps.Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := maps.Get(t.Context(), "lost", metav1.GetOptions{}); err == nil {
		t.Error("what was written after the snapshot is there")
	}
	if string(restored.CA()) != ca {
		t.Error("the CA is another: no node would trust it")
	}
	if _, err := cluster.RestoreSnapshot(file, fresh.dir); err == nil || !strings.Contains(err.Error(), "has data already") {
		t.Errorf("%v", err)
	}
	newMaster(t).start(t, joinOf(t, restored)) // others join it again

	damaged(t, file)
}

// A master that joined, or was restored, has the keys of encryption at each start.
func TestAMasterKeepsTheEncryptionItWasGiven(t *testing.T) {
	first := newMaster(t)
	config := first.config(nil)
	config.APIServer.Etcd.Encryption.ConfigFile = filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(config.APIServer.Etcd.Encryption.ConfigFile, []byte(`
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{secretbox: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if _, err := clientOf(t, c).CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	readable := func(what string, c *cluster.Cluster) {
		t.Helper()
		within(t, func() error { // a member that is back may look for its leader still
			if _, err := clientOf(t, c).CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{}); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	file := filepath.Join(t.TempDir(), "s"+cluster.SnapshotSuffix)
	if _, err := cluster.SaveSnapshot(file, func(w io.Writer) error { return c.WriteSnapshot(t.Context(), w) }); err != nil {
		t.Fatal(err)
	}
	second := newMaster(t)
	joined := second.start(t, joinOf(t, c))
	readable("joined", joined)
	joined.Stop()
	readable("started again", second.start(t, nil))

	fresh := newMaster(t)
	if _, err := cluster.RestoreSnapshot(file, fresh.dir); err != nil {
		t.Fatal(err)
	}
	readable("restored", fresh.start(t, nil))
}

func TestSnapshotsOnSchedule(t *testing.T) {
	m, dir := newMaster(t), t.TempDir()
	config := m.config(nil)
	config.Snapshots = cluster.SnapshotSchedule{Cron: "every now and then"}
	if _, err := cluster.Start(t.Context(), config); err == nil || !strings.Contains(err.Error(), "--snapshot-schedule-cron") {
		t.Errorf("%v", err)
	}
	own := filepath.Join(dir, "mine"+cluster.SnapshotSuffix)
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config = newMaster(t).config(nil)
	config.Snapshots = cluster.SnapshotSchedule{Cron: "@every 1s", Retention: 2, Dir: dir}
	c, err := cluster.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	seen := map[string]bool{}
	within(t, func() error {
		all, err := cluster.Snapshots(dir)
		if err != nil {
			return err
		}
		for _, f := range all {
			seen[f.Name()] = true
		}
		if len(seen) < 5 || len(all) != 3 { // its own, and two of at least four
			return fmt.Errorf("%d of %d are there", len(all), len(seen))
		}
		return nil
	})
	if _, err := os.Stat(own); err != nil {
		t.Errorf("a snapshot that no schedule took is gone: %v", err)
	}
}

// damaged tries what is not a whole snapshot of this skiff. Every message names
// the file and says what to do.
func damaged(t *testing.T, file string) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var foreign bytes.Buffer
	z := gzip.NewWriter(&foreign)
	if _, err := z.Write(bytes.Repeat([]byte("not a tar "), 100)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	const notOurs, broken, newer = "is not one of skiff's, which 'skiff snapshot save' writes", "restore another, or copy it again", "use the skiff that wrote it, or a newer one"
	for _, c := range []struct {
		name string
		data []byte
		want []string
	}{
		{"an empty file", nil, []string{"is empty", broken}},
		{"another file", []byte("#!/bin/sh\n"), []string{notOurs}},
		{"another archive", foreign.Bytes(), []string{notOurs, "does not begin with skiff-snapshot.json"}},
		{"one that was cut off early", whole[:len(whole)/2], []string{"is truncated in ", broken}},
		{"one that was cut off late", whole[:len(whole)-20], []string{"is truncated", broken}},
		{"one with a broken byte", flipped(whole, len(whole)/2), []string{"is damaged", broken}},
		{"one with a broken byte in its end", flipped(whole, len(whole)-6), []string{"is damaged", broken}},
		{"one that something follows", append(bytes.Clone(whole), "more"...), []string{"is damaged at its end", broken}},
		{"one of a later format", repacked(t, whole, func(i map[string]any) { i["format"] = 2 }), []string{"is of format 2, and this skiff reads 1", newer}},
		{"one of a later Kubernetes", repacked(t, whole, func(i map[string]any) { i["version"] = "v1.99.0" }), []string{"was taken by Kubernetes v1.99.0, and this is v1.", newer}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, dir := filepath.Join(t.TempDir(), "x"), filepath.Join(t.TempDir(), "data")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := cluster.RestoreSnapshot(path, dir)
			for _, want := range append(c.want, path) {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
			if left, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := cluster.ReadSnapshot(dir); err == nil || !strings.Contains(err.Error(), dir+" is a directory: name a file in it") {
			t.Errorf("%v", err)
		}
	})
	t.Run("one of an earlier Kubernetes is restored", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, repacked(t, whole, func(i map[string]any) { i["version"] = "v1.2.3" }), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.RestoreSnapshot(path, filepath.Join(t.TempDir(), "data")); err != nil {
			t.Error(err)
		}
	})
	t.Run("no byte can change, and none be missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x")
		const header = 10 // gzip's own, whose time and system nobody checks
		for at := header; at < len(whole); at += max(1, len(whole)/30) {
			for what, data := range map[string][]byte{"changed": flipped(whole, at), "cut off": whole[:at]} {
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := cluster.ReadSnapshot(path); err == nil {
					t.Errorf("%s at byte %d of %d: it is taken for whole", what, at, len(whole))
				}
			}
		}
	})
}

func flipped(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 0xff
	return out
}

// repacked is a snapshot with other information, whole otherwise.
func repacked(t *testing.T, data []byte, change func(info map[string]any)) []byte {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in, err := gzip.NewReader(bytes.NewReader(data))
	must(err)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	from, to := tar.NewReader(in), tar.NewWriter(z)
	sums := map[string]string{}
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		raw, err := io.ReadAll(from)
		must(err)
		switch h.Name {
		case "skiff-snapshot.json":
			info := map[string]any{}
			must(json.Unmarshal(raw, &info))
			change(info)
			raw, err = json.Marshal(info)
		case "sums.json":
			raw, err = json.Marshal(sums)
		}
		must(err)
		sum := sha256.Sum256(raw)
		sums[h.Name] = hex.EncodeToString(sum[:])
		h.Size = int64(len(raw))
		must(to.WriteHeader(h))
		_, err = to.Write(raw)
		must(err)
	}
	must(to.Close())
	must(z.Close())
	return out.Bytes()
}

// limited is a disk with little room.
type limited struct {
	io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, syscall.ENOSPC
	}
	return l.Writer.Write(p)
}

func TestAFullDiskLeavesNoSnapshot(t *testing.T) {
	c := newMaster(t).start(t, nil)
	dir := t.TempDir()
	_, err := cluster.SaveSnapshot(filepath.Join(dir, "s"+cluster.SnapshotSuffix), func(w io.Writer) error {
		return c.WriteSnapshot(t.Context(), &limited{w, 10_000})
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
