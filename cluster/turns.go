package cluster

import (
	"context"
	"fmt"
	"runtime"
)

// turns are as many as clusters start at a time in this process, of those whose
// data are temporary: tests', which wait for no other's start, as masters do.
// A start is work for the processors alone. Fifty at once would end no sooner
// than one after the other, and each would wait for its etcd for longer than
// requests do.
var turns = make(chan struct{}, runtime.GOMAXPROCS(0))

// takeTurn waits until a cluster may start; leave says that it has.
func takeTurn(ctx context.Context) (leave func(), err error) {
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other clusters of this process to start: %w", context.Cause(ctx))
	}
}
