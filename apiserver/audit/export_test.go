package audit

import (
	"io"
	"time"

	"k8s.io/apiserver/pkg/server/options"
)

// Log is a log that begins anew at limit bytes.
type Log struct{ *file }

// OpenLog opens a log with a limit that needs no megabytes.
func OpenLog(o options.AuditLogOptions, limit int64) (Log, error) {
	f, err := open(o)
	if err == nil {
		f.limit = limit
	}
	return Log{f}, err
}

// Close waits for what goes on beside and closes the log.
func (l Log) Close() { l.close() }

// TidyUp is what happens when a log is full.
func (l Log) TidyUp(now time.Time) error { return l.tidyUp(now) }

var _ io.Writer = Log{}
