package corefile

import (
	"flag"
	"slices"
)

// CoreDNS's plugins link its command line, which adds flags to those of the
// whole program: one that has a -version of its own would panic. They are
// taken away again, before any main package adds its own.
func init() {
	theirs := []string{"conf", "dns.port", "log-format", "p", "pidfile", "plugins", "quiet", "version"}
	kept := flag.NewFlagSet(flag.CommandLine.Name(), flag.CommandLine.ErrorHandling())
	kept.Usage = flag.CommandLine.Usage
	flag.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(theirs, f.Name) {
			kept.Var(f.Value, f.Name, f.Usage)
		}
	})
	*flag.CommandLine = *kept
}
