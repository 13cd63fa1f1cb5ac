package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"github.com/skiffcluster/skiff/test/upstream"
)

func main() {
	runtime.LockOSThread() // the servers end with the thread that starts them
	var o upstream.Options
	flag.StringVar(&o.Skiff, "skiff", "", "the program to compare (default bin/skiff)")
	flag.StringVar(&o.RuntimeConfig, "runtime-config", "", "of both servers")
	only := flag.String("only", "", "try what matches this regular expression alone: kinds as in 'apps/v1 Deployment', 'documents', or 'protocol'")
	wide := flag.Bool("wide", false, "try further objects too, which have all that their kinds can have")
	flag.StringVar(&o.FeatureGates, "upstream-feature-gates", "", "of kube-apiserver, which serves some alphas with their features alone")
	flag.Parse()
	o.APIServerOnly = true
	pattern, err := regexp.Compile(*only)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o, pattern, *wide)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o upstream.Options, only *regexp.Regexp, wide bool) error {
	begin := time.Now()
	r := &runner{ctx: ctx, report: newReport(intended()), only: only, resources: map[string]resource{}}
	var both [2]*upstream.Running
	r.report.wide = wide
	for i, start := range []func(context.Context, upstream.Options) (*upstream.Running, error){upstream.StartSkiff, upstream.Start} {
		running, err := start(ctx, o)
		if err != nil {
			return err
		}
		defer running.Stop()
		both[i] = running
		if r.servers[i], err = newServer(running.REST); err != nil {
			return err
		}
	}
	entries, err := load(wide)
	if err != nil {
		return err
	}
	err = errors.Join(r.documents(), r.protocol(), r.objects(entries))
	r.report.print(os.Stdout)
	fmt.Printf("%d requests compared, %d differences, %d kinds of them meant, %s\n",
		r.report.asked, len(r.report.found), len(r.report.meant)-len(r.report.stale()), time.Since(begin).Round(time.Second))
	if err != nil {
		return fmt.Errorf("%w\nskiff: …%s\nkube-apiserver: …%s", err, both[0].Said(), both[1].Said())
	}
	if only.String() == "" {
		for _, m := range r.report.stale() {
			fmt.Printf("nothing differs any more as %q %q %q says (%s)\n", m.subject, m.what, m.difference, m.why)
		}
		if len(r.report.stale()) > 0 {
			return errors.New("the list of what is meant is longer than what differs")
		}
	}
	if len(r.report.found) > 0 {
		return errors.New("skiff differs from Kubernetes")
	}
	return nil
}
