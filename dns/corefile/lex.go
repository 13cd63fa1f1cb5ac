package corefile

import (
	"fmt"
	"strings"
	"unicode"
)

// token is a word of a Corefile.
type token struct {
	text  string
	line  int
	quote bool // a quoted word is never a brace
}

func (t token) is(brace string) bool { return t.text == brace && !t.quote }

// lex splits a Corefile into words. A # at the beginning of a word starts a
// comment; quotes hold words together.
func lex(s string) ([]token, error) {
	var out []token
	line := 1
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\n':
			line++
			i++
		case c < 0x80 && unicode.IsSpace(rune(c)):
			i++
		case c == '#':
			for i < len(s) && s[i] != '\n' {
				i++
			}
		case c == '"':
			start := line
			var b strings.Builder
			for i++; ; i++ {
				if i >= len(s) {
					return nil, fmt.Errorf("Corefile:%d: a quote is not closed", start)
				}
				if s[i] == '"' {
					i++
					break
				}
				if s[i] == '\\' && i+1 < len(s) && s[i+1] == '"' {
					i++
				}
				if s[i] == '\n' {
					line++
				}
				b.WriteByte(s[i])
			}
			out = append(out, token{b.String(), start, true})
		default:
			start := i
			for i < len(s) && (s[i] >= 0x80 || !unicode.IsSpace(rune(s[i]))) {
				i++
			}
			out = append(out, token{text: s[start:i], line: line})
		}
	}
	return out, nil
}

// directive is a line, with the lines of the block that it opens, if any.
type directive struct {
	token
	args []token
	body []directive
}

// strings returns the arguments' texts.
func (d *directive) strings() []string {
	out := make([]string, 0, len(d.args))
	for _, a := range d.args {
		out = append(out, a.text)
	}
	return out
}

func (t token) errorf(format string, args ...any) error {
	return fmt.Errorf("Corefile:%d: %s", t.line, fmt.Sprintf(format, args...))
}

// maxDepth is how deep blocks stand in blocks: server, plugin, option.
const maxDepth = 3

// group puts words that stand on a line into directives.
func group(tokens []token, depth int) (list []directive, rest []token, err error) {
	for len(tokens) > 0 {
		if tokens[0].is("}") {
			if depth == 0 {
				return nil, nil, tokens[0].errorf("unexpected }")
			}
			return list, tokens, nil
		}
		d := directive{token: tokens[0]}
		if d.is("{") {
			return nil, nil, d.errorf("unexpected {")
		}
		tokens = tokens[1:]
		for last := d.token; len(tokens) > 0 && !tokens[0].is("{") && !tokens[0].is("}"); tokens = tokens[1:] {
			if depth == 0 && strings.HasSuffix(last.text, ",") {
				d.line = tokens[0].line // zones go on in the next line after a comma
			}
			if tokens[0].line != d.line {
				break
			}
			last = tokens[0]
			d.args = append(d.args, last)
		}
		if len(tokens) > 0 && tokens[0].is("{") && tokens[0].line == d.line {
			if depth == maxDepth {
				return nil, nil, tokens[0].errorf("blocks stand too deep")
			}
			open := tokens[0]
			if d.body, tokens, err = group(tokens[1:], depth+1); err != nil {
				return nil, nil, err
			}
			if len(tokens) == 0 {
				return nil, nil, open.errorf("a { is not closed")
			}
			tokens = tokens[1:]
			if d.body == nil {
				d.body = []directive{}
			}
		}
		list = append(list, d)
	}
	return list, nil, nil
}
