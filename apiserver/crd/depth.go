package crd

import (
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
)

// deepest is how many levels of JSON a definition or a custom resource may have.
// Decoders of Go read 10,000; a list, an event of a watch or a review has the
// object in some of its own, and managed fields are deeper than the fields that
// they tell of. One object that is stored and can't be read makes its whole kind
// unreadable.
const deepest = 10000 - 100

// shallow is a codec of JSON that doesn't encode what is deeper.
type shallow struct{ runtime.Codec }

// Encode implements runtime.Encoder.
func (s shallow) Encode(obj runtime.Object, w io.Writer) error {
	l := &levels{to: w}
	if err := s.Codec.Encode(obj, l); err != nil {
		return err
	}
	if l.most > deepest {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the object's fields are nested %d levels deep with its managed fields, at most %d can be stored", l.most, deepest))
	}
	return nil
}

// levels counts how deep the JSON is that passes through.
type levels struct {
	to             io.Writer
	now, most      int
	quoted, escape bool
}

// Write implements io.Writer.
func (l *levels) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case l.escape:
			l.escape = false
		case l.quoted:
			l.escape, l.quoted = c == '\\', c != '"'
		case c == '"':
			l.quoted = true
		case c == '{' || c == '[':
			l.now++
			l.most = max(l.most, l.now)
		case c == '}' || c == ']':
			l.now--
		}
	}
	return l.to.Write(b)
}
