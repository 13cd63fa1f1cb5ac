package main

import "regexp"

// meant is a difference that is one on purpose. An entry that nothing differs
// by any more is an error.
type meant struct {
	subject, what, difference string // regular expressions
	why                       string

	seen bool
}

func (m meant) matches(subject, what string, d difference) bool {
	return match(m.subject, subject) && match(m.what, what) && match(m.difference, d.String())
}

func match(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// intended are the differences that are meant.
func intended() []meant { return nil }
