package backendtest

import (
	"bufio"
	"net"
	"os"
	"testing"
)

// Benchmark measures connections and streams of a pod to another pod on the
// node, directly and by a service of it. It needs root.
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
			l.in(l.pod[0], func() {
				for b.Loop() {
					c, err := net.Dial("tcp", to.addr)
					if err == nil {
						_, err = bufio.NewReader(c).ReadString('\n')
					}
					if err != nil {
						b.Error(err)
						return
					}
					_ = c.(*net.TCPConn).SetLinger(0) // so that ports do not run out
					_ = c.Close()
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
