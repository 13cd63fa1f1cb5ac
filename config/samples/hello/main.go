// Command hello is the sample application: a web server that tells where it
// runs and asks its neighbour, and in the same binary the few tools that
// `kubectl exec` and `kubectl cp` are tried with: sh, ls, cat, echo, env, tar,
// sleep, wget, nslookup. Which one it is follows from the name it is called by.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// applet is one tool; it gives the exit code.
type applet func(args []string, in io.Reader, out, errOut io.Writer) int

var applets map[string]applet

func init() {
	applets = map[string]applet{
		"hello": serve, "sh": shell, "ls": ls, "cat": cat, "echo": echo, "env": env, "tar": tarTool,
		"sleep": sleep, "wget": wget, "nslookup": nslookup, "hostname": hostname, "id": id,
	}
}

func main() {
	name := path.Base(os.Args[0])
	run, ok := applets[name]
	if !ok {
		run = serve
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// shell runs one command a line, or the one after -c; a ';' separates
// commands and '>' writes to a file. It is no more of a shell than that.
func shell(args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) >= 2 && args[0] == "-c" {
		return script(args[1], in, out, errOut)
	}
	code := 0
	prompt := func() {
		if f, ok := in.(*os.File); ok && isTerminal(f) {
			fmt.Fprint(out, "/ # ")
		}
	}
	prompt()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "exit" {
			return code
		}
		if line != "" {
			code = script(line, in, out, errOut)
		}
		prompt()
	}
	return code
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func script(text string, in io.Reader, out, errOut io.Writer) int {
	code := 0
	for _, part := range strings.Split(text, ";") {
		for _, step := range strings.Split(part, "&&") {
			if code = command(strings.TrimSpace(step), in, out, errOut); code != 0 {
				break
			}
		}
	}
	return code
}

func command(line string, in io.Reader, out, errOut io.Writer) int {
	line, file, redirected := strings.Cut(line, ">")
	if redirected {
		f, err := os.Create(strings.TrimSpace(file))
		if err != nil {
			fmt.Fprintln(errOut, "sh:", err)
			return 1
		}
		defer func() { _ = f.Close() }()
		out = f
	}
	words := fields(line)
	if len(words) == 0 {
		return 0
	}
	switch words[0] {
	case "exit":
		code := 0
		if len(words) > 1 {
			_, _ = fmt.Sscan(words[1], &code)
		}
		os.Exit(code)
	case "cd":
		if len(words) > 1 {
			if err := os.Chdir(words[1]); err != nil {
				fmt.Fprintln(errOut, "sh:", err)
				return 1
			}
		}
		return 0
	case "true":
		return 0
	case "false":
		return 1
	}
	run, ok := applets[path.Base(words[0])]
	if !ok {
		fmt.Fprintf(errOut, "sh: %s: not found\n", words[0])
		return 127
	}
	return run(words[1:], in, out, errOut)
}

// fields splits a line into words; quotes keep spaces and $NAME is replaced.
func fields(line string) []string {
	var words []string
	var word strings.Builder
	quote, any := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, any = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if word.Len() > 0 || any {
				words = append(words, os.ExpandEnv(word.String()))
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
		}
	}
	if word.Len() > 0 || any {
		words = append(words, os.ExpandEnv(word.String()))
	}
	return words
}
