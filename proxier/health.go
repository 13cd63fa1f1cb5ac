package proxier

import "time"

// health is whether the kernel follows the API.
type health struct {
	patience time.Duration // how long a change may wait
	eligible bool          // the node is not going away
	updated  time.Time     // the last successful write
	pending  time.Time     // since when the oldest change waits; zero when none does
	writing  time.Time     // the oldest change in the write under way
	failed   bool
}

// began notes that all that waits is being written.
func (h *health) began(now time.Time) {
	if h.writing.IsZero() {
		h.writing = h.pending
	}
	h.pending = time.Time{}
	if h.writing.IsZero() {
		h.writing = now
	}
}

// ended notes the outcome.
func (h *health) ended(now time.Time, err error) {
	h.failed = err != nil
	if err == nil {
		h.updated, h.writing = now, time.Time{}
	} else if h.writing.IsZero() {
		h.writing = now
	}
}

// healthy is true when something was written and nothing has waited too long.
func (h *health) healthy(now time.Time) bool {
	oldest := h.writing
	if oldest.IsZero() {
		oldest = h.pending
	}
	return !h.updated.IsZero() && (oldest.IsZero() || now.Sub(oldest) < h.patience)
}
