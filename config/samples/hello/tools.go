package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

func fail(errOut io.Writer, tool string, err error) int {
	fmt.Fprintf(errOut, "%s: %v\n", tool, err)
	return 1
}

func ls(args []string, _ io.Reader, out, errOut io.Writer) int {
	long, all := false, false
	var paths []string
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			long = long || strings.Contains(a, "l")
			all = all || strings.ContainsAny(a, "aA")
			continue
		}
		paths = append(paths, a)
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	for _, p := range paths {
		entries, err := os.ReadDir(p)
		if err != nil {
			info, statErr := os.Stat(p)
			if statErr != nil {
				return fail(errOut, "ls", err)
			}
			entries = []fs.DirEntry{fs.FileInfoToDirEntry(info)}
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") && !all {
				continue
			}
			if !long {
				fmt.Fprintln(out, e.Name())
				continue
			}
			if info, err := e.Info(); err == nil {
				fmt.Fprintf(out, "%s %10d %s %s\n", info.Mode(), info.Size(), info.ModTime().Format(time.DateTime), e.Name())
			}
		}
	}
	return 0
}

func cat(args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) == 0 {
		args = []string{"-"}
	}
	for _, a := range args {
		from := in
		if a != "-" {
			f, err := os.Open(a)
			if err != nil {
				return fail(errOut, "cat", err)
			}
			defer func() { _ = f.Close() }()
			from = f
		}
		if _, err := io.Copy(out, from); err != nil {
			return fail(errOut, "cat", err)
		}
	}
	return 0
}

func echo(args []string, _ io.Reader, out, _ io.Writer) int {
	fmt.Fprintln(out, strings.Join(args, " "))
	return 0
}

func env(_ []string, _ io.Reader, out, _ io.Writer) int {
	all := os.Environ()
	sort.Strings(all)
	fmt.Fprintln(out, strings.Join(all, "\n"))
	return 0
}

func hostname(_ []string, _ io.Reader, out, errOut io.Writer) int {
	h, err := os.Hostname()
	if err != nil {
		return fail(errOut, "hostname", err)
	}
	fmt.Fprintln(out, h)
	return 0
}

func id(_ []string, _ io.Reader, out, _ io.Writer) int {
	fmt.Fprintf(out, "uid=%d gid=%d\n", os.Getuid(), os.Getgid())
	return 0
}

func sleep(args []string, _ io.Reader, _, errOut io.Writer) int {
	if len(args) != 1 {
		return fail(errOut, "sleep", errors.New("one argument: seconds"))
	}
	if args[0] == "infinity" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
		<-stop
		return 128 + int(syscall.SIGTERM)
	}
	d, err := time.ParseDuration(args[0] + "s")
	if err != nil {
		return fail(errOut, "sleep", err)
	}
	time.Sleep(d)
	return 0
}

// wget prints what a URL answers: wget [-qO-] URL.
func wget(args []string, _ io.Reader, out, errOut io.Writer) int {
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if !strings.Contains(a, "://") {
			a = "http://" + a
		}
		answer, err := ask(context.Background(), a)
		if err != nil {
			return fail(errOut, "wget", err)
		}
		fmt.Fprint(out, answer)
	}
	return 0
}

func nslookup(args []string, _ io.Reader, out, errOut io.Writer) int {
	for _, a := range args {
		ips, err := net.DefaultResolver.LookupHost(context.Background(), a)
		if err != nil {
			return fail(errOut, "nslookup", err)
		}
		for _, ip := range ips {
			fmt.Fprintf(out, "Name: %s\nAddress: %s\n", a, ip)
		}
	}
	return 0
}

// tarTool does what `kubectl cp` asks of tar: cf - PATH…, xmf - [-C DIR].
func tarTool(args []string, in io.Reader, out, errOut io.Writer) int {
	mode, dir := "", "."
	var paths []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-C" && i+1 < len(args):
			i++
			dir = args[i]
		case a == "-":
		case i == 0 || strings.HasPrefix(a, "-"):
			mode += a
		default:
			paths = append(paths, a)
		}
	}
	var err error
	if strings.Contains(mode, "c") {
		err = pack(out, dir, paths)
	} else {
		err = unpack(in, dir)
	}
	if err != nil {
		return fail(errOut, "tar", err)
	}
	return 0
}

func pack(out io.Writer, dir string, paths []string) error {
	w := tar.NewWriter(out)
	for _, p := range paths {
		err := filepath.WalkDir(filepath.Join(dir, p), func(file string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			link := ""
			if info.Mode()&fs.ModeSymlink != 0 {
				if link, err = os.Readlink(file); err != nil {
					return err
				}
			}
			h, err := tar.FileInfoHeader(info, link)
			if err != nil {
				return err
			}
			h.Name = strings.TrimPrefix(file, "/")
			if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
				return err
			}
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			_, err = io.Copy(w, f)
			return err
		})
		if err != nil {
			return err
		}
	}
	return w.Close()
}

func unpack(in io.Reader, dir string) error {
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("%s is outside of %s", h.Name, dir)
		}
		path := filepath.Join(dir, h.Name)
		// kubectl names a directory only if it is empty.
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		case tar.TypeReg:
			err = writeFile(path, r, h.FileInfo().Mode())
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(path string, from io.Reader, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, from); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
