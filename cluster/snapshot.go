package cluster

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// A snapshot is one file, a tar in gzip:
//
//	skiff-snapshot.json   SnapshotInfo: whose it is and when it was taken
//	pki/…  encryption.yaml   CAs and keys, which masters share
//	etcd.db               the database
//	sums.json             SHA-256 of each of them; without it the file is not whole
const (
	infoEntry = "skiff-snapshot.json"
	dataEntry = "etcd.db"
	sumsEntry = "sums.json"

	// SnapshotSuffix is what names of snapshots end in.
	SnapshotSuffix = ".skiff-snapshot"

	snapshotFormat = 1
)

// SnapshotInfo says what a snapshot is of.
type SnapshotInfo struct {
	Format   int       `json:"format"`
	Cluster  string    `json:"cluster"`
	CAHash   string    `json:"caHash"`
	Taken    time.Time `json:"taken"`
	Revision int64     `json:"revision"`
	Version  string    `json:"version"` // Kubernetes'
	Settings `json:"settings"`

	// Found out when it is read.
	Keys int   `json:"-"` // in the database
	Size int64 `json:"-"` // of the database, bytes
}

// WriteSnapshot writes a snapshot of this cluster as it is now.
func (c *Cluster) WriteSnapshot(ctx context.Context, w io.Writer) error {
	db, err := c.api.Data().Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	hash, err := CAHash(c.CA())
	if err != nil {
		return err
	}
	info, err := json.MarshalIndent(SnapshotInfo{
		Format: snapshotFormat, Cluster: c.config.Name, CAHash: hash, Taken: time.Now().UTC().Truncate(time.Second),
		Revision: db.Revision, Version: apiserver.Version, Settings: c.settings(),
	}, "", "  ")
	if err != nil {
		return err
	}
	files, err := sharedFiles(c.dir())
	if err != nil {
		return err
	}
	if file := c.config.APIServer.Etcd.Encryption.ConfigFile; file != "" {
		if files[encryptionFile], err = os.ReadFile(file); err != nil {
			return fmt.Errorf("encryption configuration: %w", err)
		}
	}
	p := newPacker(w)
	p.add(infoEntry, int64(len(info)), bytes.NewReader(info))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p.add(name, int64(len(files[name])), bytes.NewReader(files[name]))
	}
	p.add(dataEntry, db.Size, db)
	return p.finish()
}

// packer writes an archive and keeps the first error.
type packer struct {
	zip  *gzip.Writer
	tar  *tar.Writer
	sums map[string]string
	err  error
}

func newPacker(w io.Writer) *packer {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed) // a database is mostly text
	return &packer{zip: z, tar: tar.NewWriter(z), sums: map[string]string{}, err: err}
}

func (p *packer) add(name string, size int64, from io.WriterTo) {
	if p.err != nil {
		return
	}
	if p.err = p.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, Typeflag: tar.TypeReg}); p.err != nil {
		return
	}
	sum := sha256.New()
	if _, err := from.WriteTo(io.MultiWriter(p.tar, sum)); err != nil {
		p.err = fmt.Errorf("write %s: %w", name, err)
		return
	}
	p.sums[name] = hex.EncodeToString(sum.Sum(nil))
}

func (p *packer) finish() error {
	raw, err := json.Marshal(p.sums)
	if err != nil {
		return err
	}
	p.add(sumsEntry, int64(len(raw)), bytes.NewReader(raw))
	if p.err == nil {
		p.err = p.tar.Close()
	}
	if p.err == nil {
		p.err = p.zip.Close()
	}
	if p.err != nil {
		return fmt.Errorf("write snapshot: %w", p.err)
	}
	return nil
}

// SaveSnapshot puts what write writes into a file that only its owner reads,
// verified; after an error there is none.
func SaveSnapshot(path string, write func(io.Writer) error) (_ SnapshotInfo, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return SnapshotInfo{}, fmt.Errorf("directory of snapshots: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return SnapshotInfo{}, fmt.Errorf("snapshot %s: %w", path, fs.ErrExist)
	}
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("write snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return SnapshotInfo{}, fmt.Errorf("snapshot %s: %w", path, err)
	}
	info, err := ReadSnapshot(temp)
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("what was written is not what was to be: %w", err)
	}
	return info, os.Rename(temp, path)
}

// ReadSnapshot reads and verifies a whole snapshot, the database's pages and
// keys as well, for which it needs room for the database: beside the file, or
// where nobody may write there, where temporary files are.
func ReadSnapshot(path string) (SnapshotInfo, error) {
	f, err := openSnapshot(path)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer func() { _ = f.Close() }()
	dir, err := os.MkdirTemp(filepath.Dir(path), ".skiff-snapshot-")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		dir, err = os.MkdirTemp("", "skiff-snapshot-")
	}
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("check snapshot %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return unpack(f, dir)
}

// What to do about a file that can't be restored.
const (
	notOurs = "is not one of skiff's, which 'skiff snapshot save' writes"
	broken  = "restore another, or copy it again"
)

func openSnapshot(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("snapshot: %w", err)
	case info.IsDir():
		err = fmt.Errorf("snapshot %s is a directory: name a file in it", path)
	case info.Mode().IsRegular() && info.Size() == 0:
		err = fmt.Errorf("snapshot %s is empty: %s", path, broken)
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

// unpack verifies a snapshot and leaves its files in dir.
func unpack(f *os.File, dir string) (SnapshotInfo, error) {
	var info SnapshotInfo
	bad := func(format string, args ...any) (SnapshotInfo, error) {
		return info, fmt.Errorf("snapshot %s %w", f.Name(), fmt.Errorf(format, args...))
	}
	file := bufio.NewReader(f)
	z, err := gzip.NewReader(file)
	if err != nil {
		return bad(notOurs)
	}
	z.Multistream(false)
	sums, listed := map[string]string{}, map[string]string(nil)
	archive := tar.NewReader(z)
	for first := true; ; first = false {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return bad("is truncated: %s", broken)
		case first && (err != nil || h.Name != infoEntry):
			return bad(notOurs+": it does not begin with %s", infoEntry)
		case err != nil:
			return bad("is damaged: %w: %s", err, broken)
		case !filepath.IsLocal(h.Name) || h.Typeflag != tar.TypeReg:
			return bad(notOurs+": it has an entry %q", h.Name)
		}
		sum := sha256.New()
		err = writeEntry(filepath.Join(dir, h.Name), io.TeeReader(archive, sum))
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return bad("is truncated in %s: %s", h.Name, broken)
		case errors.As(err, new(*fs.PathError)): // of what is written
			return info, fmt.Errorf("unpack snapshot %s: %w", f.Name(), err)
		case err != nil:
			return bad("is damaged in %s: %w: %s", h.Name, err, broken)
		}
		if h.Name == sumsEntry {
			if err := readJSON(filepath.Join(dir, sumsEntry), &listed); err != nil {
				return bad("is damaged: %w: %s", err, broken)
			}
			continue
		}
		sums[h.Name] = hex.EncodeToString(sum.Sum(nil))
	}
	// What follows the archive is its checksum, and nothing else.
	_, err = io.Copy(io.Discard, z)
	if err == nil {
		if _, more := file.ReadByte(); more == nil {
			err = errors.New("something follows it")
		}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return bad("is truncated: %s", broken)
	case err != nil:
		return bad("is damaged at its end: %w: %s", err, broken)
	case listed == nil:
		return bad("is truncated: it does not end with %s: %s", sumsEntry, broken)
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if sums[name] != listed[name] {
			return bad("is damaged: %s has another SHA-256 than when it was written: %s", name, broken)
		}
	}
	if err := readJSON(filepath.Join(dir, infoEntry), &info); err != nil {
		return bad("is damaged: %w: %s", err, broken)
	}
	if err := info.fits(); err != nil {
		return bad("%w", err)
	}
	if listed[dataEntry] == "" {
		return bad("has no database: %s", broken)
	}
	status, err := etcd.CheckSnapshot(filepath.Join(dir, dataEntry))
	if err != nil {
		return bad("is damaged: %w: %s", err, broken)
	}
	info.Keys, info.Size = status.TotalKey, status.TotalSize
	return info, nil
}

// fits says why this skiff can't restore it: an older one may not know what a
// newer one has stored.
func (i *SnapshotInfo) fits() error {
	if i.Format != snapshotFormat {
		return fmt.Errorf("is of format %d, and this skiff reads %d: use the skiff that wrote it, or a newer one", i.Format, snapshotFormat)
	}
	theirs, err := version.ParseGeneric(i.Version)
	if err != nil {
		return fmt.Errorf("is damaged: version %q: %s", i.Version, broken)
	}
	if ours := version.MustParseGeneric(apiserver.Version); theirs.Major() > ours.Major() || theirs.Major() == ours.Major() && theirs.Minor() > ours.Minor() {
		return fmt.Errorf("was taken by Kubernetes %s, and this is %s: use the skiff that wrote it, or a newer one", i.Version, apiserver.Version)
	}
	return nil
}

func writeEntry(path string, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// RestoreSnapshot makes a master's data directory, which must not have data of
// a cluster, from a snapshot. After an error it is as it was. Further masters
// join the one that runs on it with empty directories.
func RestoreSnapshot(path, dir string) (_ SnapshotInfo, err error) {
	for _, taken := range []string{"etcd", "pki"} {
		if _, err := os.Lstat(filepath.Join(dir, taken)); err == nil {
			return SnapshotInfo{}, fmt.Errorf("data directory %s has data already (%s): restore into another, or move it away", dir, taken)
		}
	}
	f, err := openSnapshot(path)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer func() { _ = f.Close() }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return SnapshotInfo{}, fmt.Errorf("data directory: %w", err)
	}
	temp, err := os.MkdirTemp(dir, ".restore-")
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	info, err := unpack(f, temp)
	if err != nil {
		return info, err
	}
	if err := etcd.Restore(filepath.Join(temp, dataEntry), filepath.Join(temp, "etcd")); err != nil {
		return info, err
	}
	// What comes last makes it a cluster: without etcd's data nothing starts on
	// foreign certificates.
	for _, name := range []string{encryptionFile, "pki", "etcd"} {
		err := os.Rename(filepath.Join(temp, name), filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name == encryptionFile {
			continue
		}
		if err != nil {
			return info, errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(filepath.Join(dir, "pki")))
		}
	}
	return info, nil
}

// answerSnapshot sends one. What was sent of one that fails is cut off, which
// whoever reads it notices.
func (c *Cluster) answerSnapshot(w http.ResponseWriter, r *http.Request) {
	out := &begun{w: w}
	err := c.WriteSnapshot(r.Context(), out)
	if err == nil {
		return
	}
	klog.FromContext(r.Context()).Error(err, "Snapshot is not sent")
	if out.any {
		panic(http.ErrAbortHandler)
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// begun knows whether anything was written.
type begun struct {
	w   http.ResponseWriter
	any bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.any {
		b.w.Header().Set("Content-Type", "application/octet-stream")
		b.any = true
	}
	return b.w.Write(p)
}

// Snapshots are the files of a directory, the oldest first.
func Snapshots(dir string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("directory of snapshots: %w", err)
	}
	var out []fs.FileInfo
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), SnapshotSuffix) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil { // else it is gone
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	return out, nil
}
