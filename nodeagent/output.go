package nodeagent

import "sync"

// maxOutput of a probe's command is kept, the kubelet's limit.
const maxOutput = 10 << 10

// limited keeps the first bytes of what is written.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), maxOutput-len(l.b))]...)
	return len(p), nil
}

// syncWriter keeps the beginning of what both streams of a command print.
type syncWriter struct {
	mu  sync.Mutex
	out limited
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func (w *syncWriter) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.b
}
