package cluster_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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

// damaged tries what is not a whole snapshot of this skiff.
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
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0xff
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"an empty file", nil, "is not one of skiff's"},
		{"another file", []byte("#!/bin/sh\n"), "is not one of skiff's"},
		{"another archive", foreign.Bytes(), "is not one of skiff's"},
		{"one that was cut off early", whole[:len(whole)/2], "is truncated"},
		{"one that was cut off late", whole[:len(whole)-20], "is truncated"},
		{"one with a broken byte", flipped, "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, dir := filepath.Join(t.TempDir(), "x"), filepath.Join(t.TempDir(), "data")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := cluster.RestoreSnapshot(path, dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
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
