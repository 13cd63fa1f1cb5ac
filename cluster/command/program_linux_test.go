package command

import (
	"bufio"
	"slices"
	"strings"
	"testing"
)

func TestParseMappings(t *testing.T) {
	const smaps = `00400000-03759000 r-xp 00000000 08:01 42                         /opt/a b/skiff
Rss:               44540 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
03759000-04000000 r--p 03359000 08:01 42                         /opt/a b/skiff
Anonymous:             8 kB
04000000-04100000 rw-p 03c00000 08:01 42                         /opt/a b/skiff
Anonymous:            12 kB
c000000000-c000400000 rw-p 00000000 00:00 0 
Anonymous:           400 kB
`
	want := []mapping{
		{start: 0x400000, end: 0x3759000, path: "/opt/a b/skiff"},
		{start: 0x3759000, end: 0x4000000, path: "/opt/a b/skiff", changed: true},
		{start: 0x4000000, end: 0x4100000, path: "/opt/a b/skiff", writable: true, changed: true},
		{start: 0xc000000000, end: 0xc000400000, writable: true, changed: true},
	}
	if got := parseMappings(bufio.NewScanner(strings.NewReader(smaps))); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheProgramGoesOnWithoutItsPages(t *testing.T) {
	if err := releaseProgram(); err != nil {
		t.Fatal(err)
	}
}
