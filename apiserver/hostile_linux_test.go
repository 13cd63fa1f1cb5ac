package apiserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// TestAFullDisk fills the disk of a server's data to the last byte. Until there is
// room again it reads, deletes, and refuses other writes; it loses nothing, also
// when it starts again after it.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"); err != nil {
		t.Skip("a disk of its own needs root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := start(t, onDisk(filepath.Join(disk, "data")))
	r := rawTo(t, asJSON(s.admin()))
	stored := map[string]bool{}
	create := func() answer {
		name := fmt.Sprintf("c%d", len(stored))
		a := r.do("POST", maps, configMap(name, strings.Repeat("x", 200_000)))
		stored[name] = a.code == http.StatusCreated
		return a
	}
	for range 10 {
		if a := create(); a.code != http.StatusCreated {
			t.Fatalf("%d %s", a.code, a.body)
		}
	}
	others, err := os.Create(filepath.Join(disk, "others"))
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	fill := func(left uint64) {
		t.Helper()
		zeros := make([]byte, 1<<20)
		for {
			var fs unix.Statfs_t
			if err := unix.Statfs(disk, &fs); err != nil {
				t.Fatal(err)
			}
			if fs.Bavail*uint64(fs.Bsize) <= left { //nolint:gosec // never negative
				return
			}
			if _, err := others.Write(zeros); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
		}
	}
	fill(24 << 20)
	eventually(t, func() error {
		if a := create(); a.code != http.StatusInternalServerError || !strings.Contains(string(a.body), "database space exceeded") {
			return fmt.Errorf("a write: %d %.200s", a.code, a.body)
		}
		return nil
	})
	fill(0)
	for range 20 { // each of which etcd's log would have no room for
		if a := create(); a.code != http.StatusInternalServerError {
			t.Errorf("a write on the full disk: %d %.200s", a.code, a.body)
		}
	}
	if a := r.do("DELETE", maps+"/c0", ""); a.code != http.StatusOK {
		t.Errorf("a deletion on the full disk: %d %.200s", a.code, a.body)
	}
	stored["c0"] = false
	if a := r.get("/readyz"); a.code != http.StatusInternalServerError || !strings.Contains(string(a.body), "[-]etcd failed") {
		t.Errorf("readyz on the full disk: %d %.400s", a.code, a.body)
	}
	whole := func(what string) {
		t.Helper()
		var list corev1.ConfigMapList
		r.get(maps).into(t, &list)
		has := map[string]bool{}
		for _, c := range list.Items {
			has[c.Name] = true
		}
		for name, is := range stored {
			if has[name] != is {
				t.Errorf("%s: there is %s: %t, want %t", what, name, has[name], is)
			}
		}
	}
	whole("on the full disk")
	if err := errors.Join(others.Truncate(0), os.Remove(others.Name())); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := create(); a.code != http.StatusCreated {
			return fmt.Errorf("a write where there is room: %d %.200s", a.code, a.body)
		}
		return nil
	})
	whole("with room again")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	r = rawTo(t, asJSON(start(t, onDisk(filepath.Join(disk, "data"))).admin()))
	whole("after a start")
}
