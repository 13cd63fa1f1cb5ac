package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// timeFormat always has nine digits after the second, so that lines stay
// aligned; it is what kubectl logs --timestamps shows.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// maxText is the most text in one line of a log; longer lines are written as
// several, all but the last marked partial. The limit is containerd's.
const maxText = 16 << 10

// line is one line of a log.
type line struct {
	time    time.Time
	stream  string // "stdout" or "stderr"
	partial bool   // the text goes on in the next line
	text    []byte
}

// appendLine writes a line in the form "time stream tag text\n".
func appendLine(b []byte, l line) []byte {
	b = l.time.UTC().AppendFormat(b, timeFormat)
	b = append(b, ' ')
	b = append(b, l.stream...)
	if l.partial {
		b = append(b, " P "...)
	} else {
		b = append(b, " F "...)
	}
	b = append(b, l.text...)
	return append(b, '\n')
}

// parseLine reads a line without its end. The text is not copied.
func parseLine(b []byte) (line, error) {
	stamp, rest, ok1 := bytes.Cut(b, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tags, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 {
		return line{}, errors.New("line is not of the form \"time stream tag text\"")
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return line{}, fmt.Errorf("time of a line: %w", err)
	}
	l := line{time: t, text: text}
	switch string(stream) {
	case "stdout", "stderr":
		l.stream = string(stream)
	default:
		return line{}, fmt.Errorf("unexpected stream type %q", stream)
	}
	// Further tags may follow the first, separated by colons.
	first, _, _ := bytes.Cut(tags, []byte{':'})
	l.partial = string(first) == "P"
	return l, nil
}
