package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// serve answers on --listen with who it is; /ask passes the question on to
// --next and /healthz and /readyz are for probes.
func serve(args []string, _ io.Reader, out, errOut io.Writer) int {
	f := flag.NewFlagSet("hello", flag.ContinueOnError)
	f.SetOutput(errOut)
	listen := f.String("listen", ":8080", "address to serve on")
	next := f.String("next", os.Getenv("NEXT"), "URL that /ask asks")
	greeting := f.String("greeting", or(os.Getenv("GREETING"), "Hello"), "what to say")
	if f.Parse(args) != nil {
		return 2
	}
	logger := log.New(out, "", log.LstdFlags|log.Lmicroseconds)
	host, _ := os.Hostname() // a pod has one
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		logger.Printf("%s %s from %s", r.Method, r.URL.Path, r.RemoteAddr)
		fmt.Fprintf(w, "%s from %s\n", *greeting, host)
	})
	mux.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		answer, err := ask(r.Context(), *next)
		if err != nil {
			logger.Printf("ask %s: %v", *next, err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%s asked %s: %s", host, *next, answer)
	})
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	mux.HandleFunc("/healthz", ok)
	mux.HandleFunc("/readyz", ok)
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		logger.Print("stopping")
		bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(bounded); err != nil {
			logger.Printf("stop: %v", err)
		}
	}()
	logger.Printf("serving on %s", *listen)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(errOut, "hello:", err)
		return 1
	}
	<-ended
	return 0
}

func ask(ctx context.Context, url string) (string, error) {
	if url == "" {
		return "", errors.New("nobody to ask: NEXT is not set")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// A connection for each question, so that the answers come from all pods.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), err
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
