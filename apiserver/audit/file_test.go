package audit_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/options"

	"github.com/skiffcluster/skiff/apiserver/audit"
)

func openLog(t *testing.T, o options.AuditLogOptions, limit int64) audit.Log {
	t.Helper()
	l, err := audit.OpenLog(o, limit)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// full gives the names of the logs that are full.
func full(t *testing.T, path string) []string {
	t.Helper()
	names, err := filepath.Glob(strings.TrimSuffix(path, ".log") + "-*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestALogBeginsAnewWhenItIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(l audit.Log, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if _, err := fmt.Fprintln(l, line); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := openLog(t, options.AuditLogOptions{Path: path}, 10)
	write(l, "one", "two")
	l.Close()
	l = openLog(t, options.AuditLogOptions{Path: path}, 10)
	write(l, "three")
	time.Sleep(2 * time.Millisecond) // names are of a millisecond
	write(l, strings.Repeat("x", 20))
	l.Close()
	names := full(t, path)
	if len(names) != 2 {
		t.Fatalf("%v", names)
	}
	for file, want := range map[string]string{names[0]: "one\ntwo\n", names[1]: "three\n", path: strings.Repeat("x", 20) + "\n"} {
		if raw, err := os.ReadFile(file); err != nil || string(raw) != want {
			t.Errorf("%s: %v %q", file, err, raw)
		}
	}
}

func TestFullLogsAreTidiedUp(t *testing.T) {
	now := time.Date(2030, 1, 10, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		options options.AuditLogOptions
		left    string // days of the month
	}{
		{"all are kept", options.AuditLogOptions{}, "01 05 08 09"},
		{"so many are kept", options.AuditLogOptions{MaxBackups: 2}, "08 09"},
		{"those of so many days are kept", options.AuditLogOptions{MaxAge: 6}, "05 08 09"},
		{"what is in both", options.AuditLogOptions{MaxAge: 6, MaxBackups: 1}, "09"},
		{"they are compressed", options.AuditLogOptions{Compress: true}, "01.gz 05.gz 08.gz 09.gz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.options.Path = filepath.Join(dir, "audit.log")
			l := openLog(t, c.options, 1)
			defer l.Close()
			others := []string{"audit-notes.log", "other-2030-01-01T00-00-00.000.log"}
			for _, name := range append(others, "audit-2030-01-01T00-00-00.000.log", "audit-2030-01-05T00-00-00.000.log", "audit-2030-01-08T00-00-00.000.log", "audit-2030-01-09T00-00-00.000.log") {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.TidyUp(now); err != nil {
				t.Fatal(err)
			}
			for _, name := range others {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
			var left []string
			for _, name := range full(t, c.options.Path) {
				day, ok := strings.CutPrefix(filepath.Base(name), "audit-2030-01-")
				if !ok {
					continue
				}
				text := day[:2]
				if strings.HasSuffix(name, ".gz") {
					text += ".gz"
					if got := unzip(t, name); got != "x" {
						t.Errorf("%s holds %q", name, got)
					}
				}
				left = append(left, text)
			}
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("%s", got)
			}
		})
	}
}

func unzip(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestNothingIsRecordedWithoutFlags(t *testing.T) {
	for _, o := range []*audit.Options{nil, options.NewAuditOptions()} {
		b, err := audit.New(o)
		if b != nil || err != nil {
			t.Errorf("%v %v", b, err)
		}
		if err := b.Run(); err != nil {
			t.Error(err)
		}
		b.Stop()
	}
}
