package eviction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Reasons of events of the node.
const (
	ReasonFreeDiskSpaceFailed = "FreeDiskSpaceFailed"
	ReasonInvalidDiskCapacity = "InvalidDiskCapacity"
)

// collectPeriod is how often the disk of images is looked at.
const collectPeriod = 5 * time.Minute

// ImageStore is the part of runtime.Runtime that image garbage collection needs.
type ImageStore interface {
	List(ctx context.Context) ([]runtime.Sandbox, []runtime.Container, error)
	ListImages(ctx context.Context) ([]runtime.Image, error)
	RemoveImage(ctx context.Context, id string) error
}

// ImagesConfig of [Images].
type ImagesConfig struct {
	Store ImageStore
	// Dir is on the file system of the images.
	Dir string
	// HighPercent of the disk used starts a collection down to LowPercent: 85
	// and 80.
	HighPercent, LowPercent int
	// MinAge is how long an image must have been known; 2 minutes.
	MinAge time.Duration
	// Keep are IDs or names of images that are never removed.
	Keep []string
	// Event records a Warning of the node; may be nil.
	Event func(reason, message string)
	// Clock is the real one if nil.
	Clock clock.WithTicker
	// Disk reads how full the disk is; the file system of Dir where nil.
	Disk func() (Observation, error)
}

// Images removes images that nothing uses when the disk fills.
type Images struct {
	cfg ImagesConfig

	mu      sync.Mutex // held during a collection
	records map[string]record
}

// record is what is remembered of an image.
type record struct{ detected, used time.Time }

// NewImages makes an image garbage collector.
func NewImages(cfg ImagesConfig) (*Images, error) {
	if cfg.Store == nil {
		return nil, errors.New("eviction: ImagesConfig.Store is not set")
	}
	if cfg.HighPercent == 0 {
		cfg.HighPercent = 85
	}
	if cfg.LowPercent == 0 {
		cfg.LowPercent = min(80, cfg.HighPercent)
	}
	if cfg.LowPercent > cfg.HighPercent || cfg.HighPercent > 100 || cfg.LowPercent < 0 {
		return nil, fmt.Errorf("image garbage collection: LowPercent %d and HighPercent %d must rise from 0 to 100", cfg.LowPercent, cfg.HighPercent)
	}
	if cfg.MinAge == 0 {
		cfg.MinAge = 2 * time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Disk == nil {
		cfg.Disk = func() (Observation, error) {
			disk, _, err := diskOf(cfg.Dir)
			return disk, err
		}
	}
	return &Images{cfg: cfg, records: map[string]record{}}, nil
}

// Run looks every 5 minutes until ctx ends.
func (i *Images) Run(ctx context.Context) error {
	ticker := i.cfg.Clock.NewTicker(collectPeriod)
	defer ticker.Stop()
	for {
		if err := i.Collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Image garbage collection failed")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// Collect removes unused images if the disk is too full.
func (i *Images) Collect(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cfg.Clock.Now()
	images, err := i.detect(ctx, now)
	if err != nil {
		return err
	}
	disk, err := i.cfg.Disk()
	if err != nil {
		return err
	}
	if disk.Capacity == 0 {
		i.event(ReasonInvalidDiskCapacity, "invalid capacity 0 on image filesystem")
		return errors.New("invalid capacity 0 on image filesystem")
	}
	wanted := toFree(disk, i.cfg.HighPercent, i.cfg.LowPercent)
	if wanted == 0 {
		return nil
	}
	freed, err := i.remove(ctx, images, wanted, now, i.cfg.MinAge)
	if err != nil {
		return err
	}
	if freed < wanted {
		message := fmt.Sprintf("Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", wanted, freed)
		i.event(ReasonFreeDiskSpaceFailed, message)
		return errors.New(message)
	}
	return nil
}

// Free removes all unused images that are old enough and tells how many bytes that
// gave.
func (i *Images) Free(ctx context.Context) (int64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cfg.Clock.Now()
	images, err := i.detect(ctx, now)
	if err != nil {
		return 0, err
	}
	return i.remove(ctx, images, math.MaxInt64, now, i.cfg.MinAge)
}

// toFree is how many bytes must go for a disk that is fuller than high percent
// to be low percent full.
func toFree(disk Observation, high, low int) int64 {
	used := 100 - int(disk.Available*100/disk.Capacity)
	if used < high {
		return 0
	}
	return int64(disk.Capacity*uint64(100-low)/100) - int64(disk.Available)
}

// unusedImage is an image that may go.
type unusedImage struct {
	runtime.Image
	record
}

// detect notes what is there and in use, and gives what is not in use, the
// longest unused first; i.mu is held.
func (i *Images) detect(ctx context.Context, now time.Time) ([]unusedImage, error) {
	images, err := i.cfg.Store.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	_, containers, err := i.cfg.Store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.Image], used[c.ImageID] = true, true
		for _, id := range c.Mounted {
			used[id] = true
		}
	}
	for _, name := range i.cfg.Keep {
		used[name] = true
	}
	records := map[string]record{}
	var unused []unusedImage
	for _, image := range images {
		r, known := i.records[image.ID]
		if !known {
			r.detected = now
		}
		if inUse(image, used) {
			r.used = now
		} else {
			unused = append(unused, unusedImage{image, r})
		}
		records[image.ID] = r
	}
	i.records = records
	slices.SortStableFunc(unused, func(a, b unusedImage) int {
		return cmp.Or(a.used.Compare(b.used), a.detected.Compare(b.detected))
	})
	return unused, nil
}

func inUse(image runtime.Image, used map[string]bool) bool {
	names := slices.Concat([]string{image.ID}, image.RepoTags, image.RepoDigests)
	return slices.ContainsFunc(names, func(name string) bool { return used[name] })
}

// remove removes images until wanted bytes are free; i.mu is held.
func (i *Images) remove(ctx context.Context, images []unusedImage, wanted int64, now time.Time, minAge time.Duration) (int64, error) {
	var (
		freed  int64
		failed []error
	)
	for _, image := range images {
		if freed >= wanted {
			break
		}
		if now.Sub(image.detected) < minAge {
			continue
		}
		if err := i.cfg.Store.RemoveImage(ctx, image.ID); err != nil {
			failed = append(failed, fmt.Errorf("remove image %s: %w", image.ID, err))
			continue
		}
		delete(i.records, image.ID)
		freed += image.Size
	}
	return freed, errors.Join(failed...)
}

func (i *Images) event(reason, message string) {
	if i.cfg.Event != nil {
		i.cfg.Event(reason, message)
	}
}
