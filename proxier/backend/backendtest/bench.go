package backendtest

import (
	"bufio"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// latencies are of one thing done again and again.
type latencies []time.Duration

func (l latencies) report(b *testing.B) {
	if len(l) == 0 {
		return
	}
	slices.Sort(l)
	b.ReportMetric(float64(l[len(l)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(l[len(l)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// Benchmark measures connections, requests and streams of a pod to another pod
// on the node, directly and by a service of it. It needs root.
func Benchmark(b *testing.B, o Options) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to make network namespaces")
	}
	l := newLab(b, o.Open, true)
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{1})
	l.apply()
	for _, to := range []struct{ name, addr string }{{"directly", podIP(1) + ":8080"}, {"by ClusterIP", vip + ":80"}} {
		b.Run("connect "+to.name, func(b *testing.B) {
			var took latencies
			defer func() { took.report(b) }()
			l.in(l.pod[0], func() {
				for b.Loop() {
					began := time.Now()
					c, err := net.Dial("tcp", to.addr)
					if err == nil {
						_, err = bufio.NewReader(c).ReadString('\n')
					}
					if err != nil {
						b.Error(err)
						return
					}
					took = append(took, time.Since(began))
					_ = c.(*net.TCPConn).SetLinger(0) // so that ports do not run out
					_ = c.Close()
				}
			})
		})
		b.Run("request "+to.name, func(b *testing.B) {
			var took latencies
			defer func() { took.report(b) }()
			l.in(l.pod[0], func() {
				c, err := net.Dial("tcp", to.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer func() { _ = c.Close() }()
				// The server tells its name first, then it repeats what it hears.
				line := bufio.NewReader(c)
				if _, err = line.ReadString('\n'); err != nil {
					b.Error(err)
					return
				}
				out, in := make([]byte, 100), make([]byte, 100)
				for b.Loop() {
					began := time.Now()
					_, err := c.Write(out)
					if err == nil {
						_, err = io.ReadFull(line, in)
					}
					if err != nil {
						b.Error(err)
						return
					}
					took = append(took, time.Since(began))
				}
			})
		})
		b.Run("stream "+to.name, func(b *testing.B) {
			const size = 1 << 20
			b.SetBytes(size)
			l.in(l.pod[0], func() {
				c, err := net.Dial("tcp", to.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer func() { _ = c.Close() }()
				out, in := make([]byte, size), make([]byte, size)
				for b.Loop() {
					go func() { _, _ = c.Write(out) }()
					for n := 0; n < size; {
						m, err := c.Read(in)
						if err != nil {
							b.Error(err)
							return
						}
						n += m
					}
				}
			})
		})
	}
}
