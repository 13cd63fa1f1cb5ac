package corefile

import (
	"regexp"
	"strings"

	"github.com/miekg/dns"
)

// Rewrite changes the name of a query before it is answered.
type Rewrite struct {
	// match is exact, prefix, suffix, substring or regex.
	match, from, to string
	pattern         *regexp.Regexp
	// Continue applies the rules that follow as well.
	Continue bool
}

// Apply returns the new name, and whether the rule is about name.
func (r *Rewrite) Apply(name string) (string, bool) {
	switch r.match {
	case "prefix":
		if rest, ok := strings.CutPrefix(name, r.from); ok {
			return r.to + rest, true
		}
	case "suffix":
		if rest, ok := strings.CutSuffix(name, r.from); ok {
			return rest + r.to, true
		}
	case "substring":
		if strings.Contains(name, r.from) {
			return strings.ReplaceAll(name, r.from, r.to), true
		}
	case "regex":
		groups := r.pattern.FindStringSubmatch(name)
		if groups == nil {
			break
		}
		to := r.to
		for i := len(groups) - 1; i > 0; i-- {
			to = strings.ReplaceAll(to, "{"+string(rune('0'+i))+"}", groups[i])
		}
		return dns.Fqdn(to), true
	default:
		return r.to, name == r.from
	}
	return name, false
}

// parseRewrite reads "rewrite [continue|stop] name [MATCH] FROM TO [answer auto]".
func parseRewrite(d *directive) (Rewrite, error) {
	args := d.strings()
	r := Rewrite{match: "exact"}
	if len(args) > 0 && (args[0] == "continue" || args[0] == "stop") {
		r.Continue = args[0] == "continue"
		args = args[1:]
	}
	if len(args) == 0 || args[0] != "name" || d.body != nil {
		return r, d.errorf("rewrite: only rules of names in one line are supported: rewrite [continue|stop] name [exact|prefix|suffix|substring|regex] FROM TO [answer auto]")
	}
	args = args[1:]
	if n := len(args); n >= 2 && args[n-2] == "answer" && args[n-1] == "auto" {
		args = args[:n-2]
	}
	if len(args) == 3 {
		r.match = args[0]
		args = args[1:]
	}
	if len(args) != 2 {
		return r, d.errorf("rewrite: want a name and what becomes of it, have %q", strings.Join(args, " "))
	}
	r.from, r.to = strings.ToLower(args[0]), strings.ToLower(args[1])
	switch r.match {
	case "exact":
		r.from, r.to = dns.Fqdn(r.from), dns.Fqdn(r.to)
	case "suffix":
		r.from, r.to = dns.Fqdn(r.from), dns.Fqdn(r.to)
	case "prefix", "substring":
	case "regex":
		p, err := regexp.Compile(args[0])
		if err != nil {
			return r, d.errorf("rewrite: %v", err)
		}
		if p.NumSubexp() > 9 {
			return r, d.errorf("rewrite: at most 9 groups are supported")
		}
		r.pattern, r.to = p, args[1]
	default:
		return r, d.errorf("rewrite: %q is no way to match names: want exact, prefix, suffix, substring or regex", r.match)
	}
	return r, nil
}
