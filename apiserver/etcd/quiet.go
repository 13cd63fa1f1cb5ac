package etcd

import (
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"
)

// quiet leaves out what etcd calls an error and is none: each new member, when
// it first looks at the version of its storage, has applied no entry yet from
// which to tell it. It looks again some seconds later.
type quiet struct{ zapcore.Core }

// notYet is what a leader says of a new member that asks to be made a voter
// before it has all data. The member asks until it has.
const notYet = "rejecting promote learner: learner is not ready"

// With implements zapcore.Core.
func (q quiet) With(f []zapcore.Field) zapcore.Core { return quiet{q.Core.With(f)} }

// Check implements zapcore.Core.
func (q quiet) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if q.Enabled(e.Level) {
		return c.AddCore(e, q)
	}
	return c
}

// Write implements zapcore.Core.
func (q quiet) Write(e zapcore.Entry, f []zapcore.Field) error {
	if e.Message == "failed to update storage version" && slices.ContainsFunc(f, noTermYet) || e.Message == notYet {
		return nil
	}
	return q.Core.Write(e, f)
}

func noTermYet(f zapcore.Field) bool {
	err, ok := f.Interface.(error)
	return ok && strings.Contains(err.Error(), "missing term information")
}
