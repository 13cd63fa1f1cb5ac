package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFollowSeesEveryKindOfChange(t *testing.T) {
	dir := t.TempDir()
	file, inside := filepath.Join(dir, "file"), filepath.Join(dir, "inside")
	write := func(path, content string) func() error {
		return func() error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	for _, do := range []func() error{write(file, "first"), func() error { return os.Mkdir(inside, 0o700) }} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(chan string, 100)
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Follow(ctx, []string{file, inside}, func(context.Context) error {
			content, err := os.ReadFile(file)
			entries, _ := os.ReadDir(inside)
			for _, e := range entries {
				content = append(content, " "+e.Name()...)
			}
			seen <- string(content)
			return errors.Join(err, errors.New("never right"))
		})
	}()
	sees := func(name, want string) {
		t.Helper()
		late := time.After(30 * time.Second)
		for {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-late:
				t.Fatalf("%s: %q is not seen", name, want)
			}
		}
	}
	sees("at the start", "first")
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"a file is written", write(file, "second"), "second"},
		{"a file is replaced, as editors do", func() error {
			return errors.Join(write(filepath.Join(dir, "new"), "third")(), os.Rename(filepath.Join(dir, "new"), file))
		}, "third"},
		{"a directory gets a file", write(filepath.Join(inside, "a"), ""), "third a"},
		{"a file in it is renamed", func() error { return os.Rename(filepath.Join(inside, "a"), filepath.Join(inside, "b")) }, "third b"},
		{"a file is removed", func() error { return os.Remove(file) }, " b"},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		sees(c.name, c.want)
	}
	end()
	<-ended
}
