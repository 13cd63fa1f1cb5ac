package ociimage_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/skiffcluster/skiff/internal/ociimage"
)

func TestAProgramHasTheNamesThatItIsStartedBy(t *testing.T) {
	program := filepath.Join(t.TempDir(), "manager")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := ociimage.Image(ociimage.Spec{Name: "example.com/manager:dev", Program: program, Links: []string{"other", "/manager"}, User: "65532"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Config.User != "65532" || config.Config.Entrypoint[0] != "/bin/manager" {
		t.Errorf("got %+v, %v", config, err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = h.Linkname
	}
	for file, link := range map[string]string{"bin/manager": "", "bin/other": "/bin/manager", "manager": "/bin/manager"} {
		if is, ok := got[file]; !ok || is != link {
			t.Errorf("%s: got %q, %v, want %q", file, is, ok, link)
		}
	}
}
