package environment

import "strings"

// Expand replaces $(NAME) by the value that lookup gives and $$ by $; a
// reference to what lookup does not know stays as it is, and so does a $ that
// begins neither.
func Expand(s string, lookup func(name string) (string, bool)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		switch s[0] {
		case '$':
			b.WriteByte('$')
			s = s[1:]
		case '(':
			end := strings.IndexByte(s, ')')
			if end < 0 {
				b.WriteString("$(")
				s = s[1:]
				continue
			}
			if value, ok := lookup(s[1:end]); ok {
				b.WriteString(value)
			} else {
				b.WriteByte('$')
				b.WriteString(s[:end+1])
			}
			s = s[end+1:]
		default:
			b.WriteByte('$')
		}
	}
}

// ExpandCommand expands the command or the arguments of a container with its
// environment, as [Variables] gave it.
func ExpandCommand(words, env []string) []string {
	if len(words) == 0 {
		return nil
	}
	values := Map(env)
	lookup := func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = Expand(w, lookup)
	}
	return out
}
