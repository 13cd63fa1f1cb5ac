// Command registry gives the images of archives to those who pull, as a registry
// does, over plain HTTP: for tests that pull on machines without a network. It
// prints its address when it serves.
//
// It reads archives as hack/tools/conformance/images.sh makes them, which are
// those of `docker save`, and writes nothing. Start at [load].
//
// usage: registry ADDRESS ARCHIVE…
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: registry ADDRESS ARCHIVE…")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(address string, archives []string) error {
	images := content{manifests: map[string][]byte{}, blobs: map[digest.Digest]section{}}
	for _, file := range archives {
		if err := images.load(file); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return (&http.Server{Handler: images, ReadHeaderTimeout: time.Minute}).Serve(l)
}

// content is what the registry has: manifests by "name:tag" and "name@digest",
// and where the blobs are that they name.
type content struct {
	manifests map[string][]byte
	blobs     map[digest.Digest]section
}

// section is a part of a file; of none, if it is in memory.
type section struct {
	file         string
	offset, size int64
	data         []byte
}

func (s section) open() (io.ReadSeekCloser, error) {
	if s.file == "" {
		return struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(s.data), io.NopCloser(nil)}, nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{io.NewSectionReader(f, s.offset, s.size), f}, nil
}

// load takes the images of an archive. Layers stay where they are, and as they
// are: uncompressed.
func (c content) load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	parts := map[string]section{}
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		// The reader has just read the header: the file's content is next.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		p := section{file: file, offset: at, size: h.Size}
		if strings.HasSuffix(h.Name, ".json") {
			p = section{size: h.Size}
			if p.data, err = io.ReadAll(in); err != nil {
				return err
			}
		}
		parts[h.Name] = p
	}
	var saved []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(parts["manifest.json"].data, &saved); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	for _, s := range saved {
		if err := c.add(parts, s.Config, s.Layers, s.RepoTags); err != nil {
			return err
		}
	}
	return nil
}

// add makes the manifest of one image.
func (c content) add(parts map[string]section, configName string, layers, names []string) error {
	blob := func(mediaType string, d digest.Digest, s section) ocispec.Descriptor {
		c.blobs[d] = s
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: s.size}
	}
	var config ocispec.Image
	raw := parts[configName]
	if err := json.Unmarshal(raw.data, &config); err != nil {
		return fmt.Errorf("%s: %w", configName, err)
	}
	if len(config.RootFS.DiffIDs) != len(layers) {
		return fmt.Errorf("%d layers, of which the configuration names %d", len(layers), len(config.RootFS.DiffIDs))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: blob(ocispec.MediaTypeImageConfig, digest.FromBytes(raw.data), raw),
	}
	for i, layer := range layers {
		m.Layers = append(m.Layers, blob(ocispec.MediaTypeImageLayer, config.RootFS.DiffIDs[i], parts[layer]))
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	for _, name := range names {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		path := reference.Path(named)
		if tagged, ok := named.(reference.Tagged); ok {
			c.manifests[path+":"+tagged.Tag()] = data
		}
		c.manifests[path+"@"+digest.FromBytes(data).String()] = data
	}
	return nil
}

// ServeHTTP implements the part of the distribution specification that pulls
// need.
func (c content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	switch {
	case !ok:
		http.NotFound(w, r)
	case path == "":
		w.WriteHeader(http.StatusOK)
	default:
		if name, ref, ok := strings.Cut(path, "/manifests/"); ok {
			c.manifest(w, r, name, ref)
		} else if _, d, ok := strings.Cut(path, "/blobs/"); ok {
			c.blob(w, r, digest.Digest(d))
		} else {
			http.NotFound(w, r)
		}
	}
}

func (c content) manifest(w http.ResponseWriter, r *http.Request, name, ref string) {
	separator := ":"
	if strings.Contains(ref, ":") {
		separator = "@"
	}
	data, ok := c.manifests[name+separator+ref]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // who does not read it has gone
	}
}

func (c content) blob(w http.ResponseWriter, r *http.Request, d digest.Digest) {
	s, ok := c.blobs[d]
	if !ok {
		http.NotFound(w, r)
		return
	}
	from, err := s.open()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer from.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", d.String())
	http.ServeContent(w, r, "", time.Time{}, from)
}
