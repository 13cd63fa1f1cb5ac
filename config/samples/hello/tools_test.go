package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// kubectl cp leaves out the directories that hold something.
func TestTarUnpacksWithoutDirectories(t *testing.T) {
	var archive, errOut bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "copied/a/link", Typeflag: tar.TypeSymlink, Linkname: "file"},
		{Name: "copied/a/file", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		{Name: "copied/b/", Typeflag: tar.TypeDir, Mode: 0o755},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "hello"[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if code := tarTool([]string{"xmf", "-", "-C", dir}, &archive, io.Discard, &errOut); code != 0 {
		t.Fatalf("code %d: %s", code, errOut.String())
	}
	if content, err := os.ReadFile(filepath.Join(dir, "copied/a/link")); err != nil || string(content) != "hello" {
		t.Errorf("%q %v", content, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "copied/b")); err != nil || !info.IsDir() {
		t.Errorf("the empty directory: %v", err)
	}
}
