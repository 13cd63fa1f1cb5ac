package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// SnapshotSchedule takes snapshots at times, on each master by itself.
type SnapshotSchedule struct {
	// Cron is when, in the form of crontab(5); empty: never.
	Cron string
	// Retention is how many are kept, of those that a schedule took. Default 5.
	Retention int
	// Dir is where. Default: snapshots in the data directory.
	Dir string
}

// scheduled is how the names of snapshots begin that retention may remove.
const scheduled = "scheduled-"

// SnapshotName is a file for a snapshot taken now.
func SnapshotName(prefix string, now time.Time) string {
	return prefix + now.UTC().Format("20060102T150405.000Z") + SnapshotSuffix
}

// snapshots takes them until its context ends.
type snapshots struct {
	SnapshotSchedule
	clock clock.WithTicker
	times cron.Schedule
	write func(context.Context, io.Writer) error
}

// startSnapshots runs the schedule, if there is one.
func (c *Cluster) startSnapshots(ctx context.Context) error {
	s := c.config.Snapshots
	if s.Cron == "" {
		return nil
	}
	times, err := cron.ParseStandard(s.Cron)
	if err != nil {
		return fmt.Errorf("--snapshot-schedule-cron %q: %w", s.Cron, err)
	}
	if s.Dir == "" {
		s.Dir = c.dir("snapshots")
	}
	if s.Retention == 0 {
		s.Retention = 5
	}
	if s.Retention < 0 {
		return fmt.Errorf("--snapshot-retention %d: must be greater than 0", s.Retention)
	}
	return c.run(ctx, "snapshots", &snapshots{SnapshotSchedule: s, clock: c.config.certificateClock, times: times, write: c.WriteSnapshot})
}

// Ready implements component.
func (s *snapshots) Ready() <-chan struct{} { return always }

// Run implements component. A snapshot that can't be taken is told, and the
// next one is tried: the cluster does not end for it.
func (s *snapshots) Run(ctx context.Context) error {
	for {
		now := s.clock.Now()
		wait := s.clock.After(s.times.Next(now).Sub(now))
		select {
		case <-ctx.Done():
			return nil
		case <-wait:
			if err := s.take(ctx); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "Scheduled snapshot is not taken")
			}
		}
	}
}

func (s *snapshots) take(ctx context.Context) error {
	path := filepath.Join(s.Dir, SnapshotName(scheduled, s.clock.Now()))
	info, err := SaveSnapshot(path, func(w io.Writer) error { return s.write(ctx, w) })
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Snapshot is taken", "file", path, "revision", info.Revision)
	have, err := Snapshots(s.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, old := range planRetention(have, s.Retention) {
		errs = append(errs, os.Remove(filepath.Join(s.Dir, old)))
	}
	return errors.Join(errs...)
}

// planRetention says which files of the schedule go, given all by age.
func planRetention(have []fs.FileInfo, keep int) []string {
	var names []string
	for _, f := range have {
		if strings.HasPrefix(f.Name(), scheduled) {
			names = append(names, f.Name())
		}
	}
	return names[:max(0, len(names)-keep)]
}
