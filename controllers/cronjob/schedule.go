package cronjob

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// manyMissed is how many runs may be missed without a warning: upstream's number.
const manyMissed = 100

// errNever is the error of a schedule that names days that no month has, in
// upstream's words.
var errNever = errors.New("time difference between two schedules is less than 1 second")

// parse reads a CronJob's schedule, in its time zone if it names one. Its
// errors are shown in events.
func parse(cronJob *batchv1.CronJob) (cron.Schedule, error) {
	spec := cronJob.Spec.Schedule
	if zone := cronJob.Spec.TimeZone; zone != nil && !strings.Contains(spec, "TZ") {
		spec = fmt.Sprintf("TZ=%s %s", *zone, spec)
	}
	return cron.ParseStandard(spec)
}

// due returns the latest time up to now at which a Job should have been
// started, zero when there is none since the last one; and how many such times
// have passed, counted up to one more than manyMissed.
func due(cronJob *batchv1.CronJob, schedule cron.Schedule, now time.Time) (latest time.Time, missed int) {
	since := cronJob.CreationTimestamp.Time
	if last := cronJob.Status.LastScheduleTime; last != nil {
		since = last.Time
	}
	if limit := cronJob.Spec.StartingDeadlineSeconds; limit != nil {
		if earliest := now.Add(-time.Duration(*limit) * time.Second); earliest.After(since) {
			since = earliest
		}
	}
	for at := schedule.Next(since); !at.IsZero() && !at.After(now); at = schedule.Next(at) {
		latest = at
		if missed++; missed > manyMissed {
			return lastBefore(schedule, latest, now), missed
		}
	}
	return latest, missed
}

// lastBefore returns the last time of a schedule up to now, of which known is
// an earlier one. It looks back twice as far each time, since a schedule can
// only be asked for what comes next and years may have passed.
func lastBefore(schedule cron.Schedule, known, now time.Time) time.Time {
	for back := time.Minute; ; back *= 2 {
		from := now.Add(-back)
		if from.Before(known) {
			from = known
		}
		at := schedule.Next(from)
		if (at.IsZero() || at.After(now)) && from.After(known) {
			continue
		}
		latest := known
		for ; !at.IsZero() && !at.After(now); at = schedule.Next(at) {
			latest = at
		}
		return latest
	}
}

// slack makes a turn come a little after the time that it waits for, so that
// it does not find it still ahead. It is upstream's.
const slack = 100 * time.Millisecond
