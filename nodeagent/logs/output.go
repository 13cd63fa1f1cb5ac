package logs

import (
	"errors"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// errLimit ends reading when limitBytes are written.
var errLimit = errors.New("limit reached")

// output writes lines as a user asked for them.
type output struct {
	stdout, stderr io.Writer
	since          time.Time
	timestamps     bool
	limited        bool
	left           int64 // bytes, if limited
	// inLine: the last line of this stream was partial, so that the next one
	// begins no new line of output.
	inLine map[string]bool
	buf    []byte
}

func newOutput(o *corev1.PodLogOptions, now time.Time, stdout, stderr io.Writer) *output {
	out := &output{stdout: stdout, stderr: stderr, timestamps: o.Timestamps, inLine: map[string]bool{}}
	switch {
	case o.SinceSeconds != nil:
		out.since = now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	case o.SinceTime != nil:
		out.since = o.SinceTime.Time
	}
	if o.LimitBytes != nil {
		out.limited, out.left = true, *o.LimitBytes
	}
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamStdout:
			out.stderr = nil
		case corev1.LogStreamStderr:
			out.stdout = nil
		}
	}
	return out
}

// write writes one line of a log. A line that can't be read is left out: what
// follows it still counts.
func (o *output) write(b []byte) error {
	l, err := parseLine(b)
	if err != nil {
		return nil //nolint:nilerr // as said above
	}
	w := o.stdout
	if l.stream == "stderr" {
		w = o.stderr
	}
	if w == nil || l.time.Before(o.since) {
		return nil
	}
	o.buf = o.buf[:0]
	if o.timestamps && !o.inLine[l.stream] {
		o.buf = l.time.AppendFormat(o.buf, timeFormat)
		o.buf = append(o.buf, ' ')
	}
	o.buf = append(o.buf, l.text...)
	if !l.partial {
		o.buf = append(o.buf, '\n')
	}
	o.inLine[l.stream] = l.partial
	text := o.buf
	if o.limited && int64(len(text)) > o.left {
		text = text[:o.left]
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if o.limited {
		if o.left -= int64(len(text)); o.left <= 0 {
			return errLimit
		}
	}
	return nil
}
