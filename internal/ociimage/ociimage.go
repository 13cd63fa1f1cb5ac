// Package ociimage makes a container image of a static program, without a
// container engine: one layer with the program, links to it under other names
// and the few files that programs expect.
//
// Reads the program; writes an archive that containerd and docker load. Start
// at Image.
package ociimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Spec says what is in an image.
type Spec struct {
	// Name with a tag, "skiff.dev/hello:v1".
	Name string
	// Program is the path of a static executable of this machine's
	// architecture. It becomes /bin/<its name> and the entrypoint.
	Program string
	// Links are further names for the program: in /bin, or anywhere, as
	// "/manager".
	Links []string
	// Args are the arguments that it is started with.
	Args []string
	// Env are NAME=value pairs.
	Env []string
	// Ports are exposed, "8080/tcp".
	Ports []string
	// User that it runs as; empty: root.
	User string
}

// Write writes the image as an archive. The same input gives the same bytes.
func Write(w io.Writer, s Spec) error {
	ref, err := name.NewTag(s.Name)
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	img, err := Image(s)
	if err != nil {
		return err
	}
	if err := tarball.Write(ref, img, w); err != nil {
		return fmt.Errorf("write image %s: %w", s.Name, err)
	}
	return nil
}

// Image makes the image.
func Image(s Spec) (v1.Image, error) {
	files, err := layer(s)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil })
	if err != nil {
		return nil, fmt.Errorf("layer of %s: %w", s.Name, err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", s.Name, err)
	}
	ports := map[string]struct{}{}
	for _, p := range s.Ports {
		ports[p] = struct{}{}
	}
	return mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		RootFS: mustRootFS(img),
		Config: v1.Config{
			Entrypoint: []string{"/bin/" + path.Base(s.Program)}, Cmd: s.Args,
			Env: append([]string{"PATH=/bin"}, s.Env...), ExposedPorts: ports, User: s.User, WorkingDir: "/",
		},
	})
}

func mustRootFS(img v1.Image) v1.RootFS {
	c, err := img.ConfigFile()
	if err != nil {
		return v1.RootFS{}
	}
	return c.RootFS
}

// layer is the file system, as a tar archive.
func layer(s Spec) ([]byte, error) {
	program, err := os.ReadFile(s.Program)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, data string) {
		h.ModTime, h.Format, h.Size = time.Unix(0, 0), tar.FormatPAX, int64(len(data))
		if err == nil {
			err = w.WriteHeader(&h)
		}
		if err == nil {
			_, err = io.WriteString(w, data)
		}
	}
	for _, dir := range []string{"bin", "etc", "root", "tmp"} {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}, "")
	}
	base := path.Base(s.Program)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/" + base, Mode: 0o755}, string(program))
	for _, l := range s.Links {
		if !path.IsAbs(l) {
			l = "/bin/" + l
		}
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(path.Clean(l), "/"), Linkname: "/bin/" + base, Mode: 0o777}, "")
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, "root:x:0:\nnobody:x:65534:\n")
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", s.Name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack %s: %w", s.Name, err)
	}
	return b.Bytes(), nil
}
