// Command program is what containers of tests run: small tools in one static
// binary, since no image can be pulled where tests run.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: program COMMAND [ARG…]")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "sleep": // until a signal; SIGTERM ends it well
		wait(syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("bye")
	case "stubborn": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		for {
			time.Sleep(time.Hour)
		}
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "both": // a line on each stream
		fmt.Println("out")
		fmt.Fprintln(os.Stderr, "err")
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			fail(err.Error())
		}
		os.Exit(code)
	case "cat":
		if len(args) == 0 {
			copyAll(os.Stdout, os.Stdin)
			return
		}
		for _, name := range args {
			data, err := os.ReadFile(name)
			if err != nil {
				fail(err.Error())
			}
			os.Stdout.Write(data)
		}
	case "write": // FILE TEXT
		if err := os.WriteFile(args[0], []byte(args[1]), 0o644); err != nil {
			fail(err.Error())
		}
	case "env":
		for _, kv := range os.Environ() {
			fmt.Println(kv)
		}
	case "id":
		groups, _ := os.Getgroups()
		fmt.Println(os.Getuid(), os.Getgid(), groups)
	case "hostname":
		name, _ := os.Hostname()
		fmt.Println(name)
	case "pid":
		fmt.Println(os.Getpid())
	case "ls":
		entries, err := os.ReadDir(args[0])
		if err != nil {
			fail(err.Error())
		}
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	case "eat": // memory until there is none
		var kept [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			kept = append(kept, b)
			if len(kept) > 1<<14 {
				return
			}
		}
	case "count": // a number each interval
		every, err := time.ParseDuration(args[0])
		if err != nil {
			fail(err.Error())
		}
		for i := 0; ; i++ {
			fmt.Println(i)
			time.Sleep(every)
		}
	case "serve": // answers HTTP on a port with a text
		serve(args[0], strings.Join(args[1:], " "))
	case "get": // URL-like host:port
		conn, err := net.DialTimeout("tcp", args[0], 5*time.Second)
		if err != nil {
			fail(err.Error())
		}
		fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		copyAll(os.Stdout, conn)
	case "tty":
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Println("got " + in.Text())
		}
	default:
		fail("unknown command " + os.Args[1])
	}
}

func serve(port, text string) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fail(err.Error())
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
					return
				}
				fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			}()
		}
	}()
	fmt.Println("serving on", port)
	wait(syscall.SIGTERM, syscall.SIGINT)
}

func wait(signals ...os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, signals...)
	<-c
}

func copyAll(to io.Writer, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		fail(err.Error())
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(2)
}
