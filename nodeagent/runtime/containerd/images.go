//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	dockerconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// imageDetails are what containers need of an image; they never change for one
// manifest.
type imageDetails struct {
	id      string // digest of the configuration
	config  ocispec.ImageConfig
	chainID string // of its unpacked layers
	// accounts are read when they are first asked for.
	accounts *accounts
}

// normalize gives an image's full name, as registries and containerd's image
// store have it: "nginx" is docker.io/library/nginx:latest.
func normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", ref, err)
	}
	return named.String(), nil
}

// find gives the image record for a name, digest or configuration's digest.
func (r *Runtime) find(ctx context.Context, ref string) (images.Image, error) {
	store := r.client.ImageService()
	if dgst, err := digest.Parse(ref); err == nil {
		list, err := store.List(ctx)
		if err != nil {
			return images.Image{}, fmt.Errorf("list images: %w", err)
		}
		for _, img := range list {
			if img.Target.Digest == dgst {
				return img, nil
			}
			if d, err := r.details(ctx, img); err == nil && d.id == ref {
				return img, nil
			}
		}
		return images.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	name, err := normalize(ref)
	if err != nil {
		return images.Image{}, err
	}
	img, err := store.Get(ctx, name)
	if err != nil {
		return images.Image{}, fmt.Errorf("image %q: %w", ref, notFound(err))
	}
	return img, nil
}

// imageDetails gives an image's details, and its name with its digest for a
// container's status.
func (r *Runtime) imageDetails(ctx context.Context, ref string) (_ *imageDetails, imageID string, err error) {
	img, err := r.find(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	d, err := r.details(ctx, img)
	return d, imageIDOf(img.Name, img.Target.Digest), err
}

// details reads an image's configuration, and unpacks its layers if nobody did.
func (r *Runtime) details(ctx context.Context, img images.Image) (*imageDetails, error) {
	key := img.Target.Digest.String()
	r.imagesMu.Lock()
	d, ok := r.images[key]
	r.imagesMu.Unlock()
	if ok {
		return d, nil
	}
	store := r.client.ContentStore()
	desc, err := img.Config(ctx, store, platforms.Default())
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", img.Name, notFound(err))
	}
	blob, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return nil, fmt.Errorf("read configuration of image %q: %w", img.Name, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return nil, fmt.Errorf("read configuration of image %q: %w", img.Name, err)
	}
	if err := client.NewImage(r.client, img).Unpack(ctx, snapshotter); err != nil {
		return nil, fmt.Errorf("unpack image %q: %w", img.Name, err)
	}
	d = &imageDetails{id: desc.Digest.String(), config: config.Config, chainID: identity.ChainID(config.RootFS.DiffIDs).String()}
	r.imagesMu.Lock()
	r.images[key] = d
	r.imagesMu.Unlock()
	return d, nil
}

// accounts reads /etc/passwd and /etc/group of an image, once.
func (r *Runtime) accounts(ctx context.Context, d *imageDetails) (accounts, error) {
	r.imagesMu.Lock()
	known := d.accounts
	r.imagesMu.Unlock()
	if known != nil {
		return *known, nil
	}
	id, err := newID()
	if err != nil {
		return accounts{}, err
	}
	// A lease collects the view if the agent dies in between.
	ctx, done, err := r.client.WithLease(ctx)
	if err != nil {
		return accounts{}, fmt.Errorf("read accounts of image: %w", err)
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	snapshots := r.client.SnapshotService(snapshotter)
	mounts, err := snapshots.View(ctx, id, d.chainID)
	if err != nil {
		return accounts{}, fmt.Errorf("read accounts of image: %w", err)
	}
	defer func() { _ = snapshots.Remove(context.WithoutCancel(ctx), id) }() // or its lease does
	var found accounts
	err = mount.WithReadonlyTempMount(ctx, mounts, func(dir string) error {
		root, err := os.OpenRoot(dir) // links must not lead out of the image
		if err != nil {
			return err
		}
		defer root.Close()
		var errs [2]error
		found.passwd, errs[0] = optional(root, "etc/passwd")
		found.group, errs[1] = optional(root, "etc/group")
		return errors.Join(errs[:]...)
	})
	if err != nil {
		return accounts{}, fmt.Errorf("read accounts of image: %w", err)
	}
	r.imagesMu.Lock()
	d.accounts = &found
	r.imagesMu.Unlock()
	return found, nil
}

func optional(root *os.Root, name string) ([]byte, error) {
	data, err := root.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// PullImage implements runtime.Runtime. Every credential is tried in turn,
// then none.
func (r *Runtime) PullImage(ctx context.Context, ref string, auth []runtime.Credentials) (runtime.Image, error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	name, err := normalize(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	if len(auth) == 0 {
		auth = []runtime.Credentials{{}}
	}
	var errs []error
	for _, a := range auth {
		img, err := r.client.Pull(ctx, name,
			client.WithResolver(r.resolver(ctx, a)), client.WithPullUnpack, client.WithPullSnapshotter(snapshotter))
		if err == nil {
			return r.imageOf(ctx, img.Metadata())
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return runtime.Image{}, fmt.Errorf("failed to pull and unpack image %q: %w", name, errors.Join(errs...))
}

// resolver finds registries: mirrors and certificates from the hosts
// directory, plain HTTP for a registry on this machine's loopback.
func (r *Runtime) resolver(ctx context.Context, auth runtime.Credentials) remotes.Resolver {
	opts := dockerconfig.HostOptions{Credentials: func(string) (string, string, error) {
		if auth.IdentityToken != "" {
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}}
	if r.cfg.HostsDir != "" {
		opts.HostDir = dockerconfig.HostDirFromRoot(r.cfg.HostsDir)
	}
	configured := dockerconfig.ConfigureHosts(ctx, opts)
	plain := opts
	plain.DefaultScheme = "http"
	loopback := dockerconfig.ConfigureHosts(ctx, plain)
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		if isLoopback(host) {
			return loopback(host)
		}
		return configured(host)
	}})
}

func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// ImageByRef implements runtime.Runtime.
func (r *Runtime) ImageByRef(ctx context.Context, ref string) (runtime.Image, error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	img, err := r.find(ctx, ref)
	if err != nil {
		return runtime.Image{}, err
	}
	return r.imageOf(ctx, img)
}

// imageOf describes one name of an image.
func (r *Runtime) imageOf(ctx context.Context, img images.Image) (runtime.Image, error) {
	d, err := r.details(ctx, img)
	if err != nil {
		return runtime.Image{}, err
	}
	size, err := img.Size(ctx, r.client.ContentStore(), platforms.Default())
	if err != nil {
		return runtime.Image{}, fmt.Errorf("size of image %q: %w", img.Name, err)
	}
	out := runtime.Image{ID: d.id, Size: size, User: d.config.User, StopSignal: d.config.StopSignal}
	named, err := reference.ParseDockerRef(img.Name)
	if err != nil {
		return out, nil //nolint:nilerr // named by its digest alone
	}
	if _, ok := named.(reference.Tagged); ok {
		out.RepoTags = []string{named.String()}
	}
	out.RepoDigests = []string{reference.TrimNamed(named).Name() + "@" + img.Target.Digest.String()}
	return out, nil
}

// ListImages implements runtime.Runtime.
func (r *Runtime) ListImages(ctx context.Context) ([]runtime.Image, error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	list, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	byID := map[string]*runtime.Image{}
	for _, rec := range list {
		img, err := r.imageOf(ctx, rec)
		if err != nil {
			continue // of another platform, or only partly there
		}
		if old, ok := byID[img.ID]; ok {
			old.RepoTags = append(old.RepoTags, img.RepoTags...)
			for _, d := range img.RepoDigests {
				if !slices.Contains(old.RepoDigests, d) {
					old.RepoDigests = append(old.RepoDigests, d)
				}
			}
			continue
		}
		byID[img.ID] = &img
	}
	out := make([]runtime.Image, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, *byID[id])
	}
	return out, nil
}

// RemoveImage implements runtime.Runtime: an ID removes all names, a name only
// itself.
func (r *Runtime) RemoveImage(ctx context.Context, id string) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	store := r.client.ImageService()
	var names []string
	if _, err := digest.Parse(id); err == nil {
		list, err := store.List(ctx)
		if err != nil {
			return fmt.Errorf("list images: %w", err)
		}
		for _, img := range list {
			if d, err := r.details(ctx, img); err == nil && d.id == id {
				names = append(names, img.Name)
			}
		}
	} else {
		name, err := normalize(id)
		if err != nil {
			return err
		}
		names = []string{name}
	}
	for _, name := range names {
		if err := store.Delete(ctx, name, images.SynchronousDelete()); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image %q: %w", name, err)
		}
	}
	r.imagesMu.Lock()
	maps.DeleteFunc(r.images, func(_ string, d *imageDetails) bool { return d.id == id })
	r.imagesMu.Unlock()
	return nil
}

// ImportImages implements runtime.Runtime.
func (r *Runtime) ImportImages(ctx context.Context, data io.Reader) ([]string, error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	ctx, done, err := r.client.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	imported, err := r.client.Import(ctx, data, client.WithImageRefTranslator(func(name string) string {
		if full, err := normalize(name); err == nil {
			return full
		}
		return archive.AddRefPrefix("")(name)
	}))
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	names := make([]string, 0, len(imported))
	for _, img := range imported {
		if _, err := r.details(ctx, img); err != nil {
			return nil, err
		}
		names = append(names, img.Name)
	}
	if len(names) == 0 {
		return nil, errors.New("import images: the archive names no image")
	}
	return names, nil
}

// imageIDOf is what a container's status shows: the image's name with its
// digest.
func imageIDOf(name string, target digest.Digest) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return target.String()
	}
	return reference.TrimNamed(named).Name() + "@" + target.String()
}
