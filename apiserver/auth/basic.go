package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/filewatch"
)

// basic authenticates by name and password (RFC 7617) against a file in the
// manner of htpasswd -B, one user a line, with groups if any:
//
//	ann:$2y$10$GyGGPsnaMPt5rqpBO9gREOmZCTtUZFh5GAh08dAGCC6R3FtSdYmZC
//	bob:$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy:devs,ops
//
// Empty lines and lines that begin with # mean nothing. A change of the file is
// in force at once.
type basic struct {
	file    string
	current atomic.Pointer[passwords]
	slots   chan struct{}
}

// passwords is one version of the file.
type passwords struct {
	content []byte
	users   map[string]login
	nobody  []byte // what the password of an unknown user is compared with
	known   *cache.LRUExpireCache
	secret  [32]byte // makes keys of known useless outside
}

type login struct {
	hash   []byte
	groups []string
}

const (
	// rememberFor is how long a password need not be compared again: bcrypt
	// takes 50 ms of a core, on purpose. The answer for a wrong one is
	// remembered as well.
	rememberFor = time.Minute
	// rememberMost bounds the memory that strangers can take, 200 bytes each.
	rememberMost = 4096
	// comparisons at a time: strangers must not take every core.
	comparisons = 1
	// maxCost is the largest work factor that is accepted: each step doubles
	// the work, and this is 3 s of it.
	maxCost = 16
)

var errPassword = errors.New("invalid username or password")

func newBasic(file string) (*basic, error) {
	p, err := readPasswords(file)
	if err != nil {
		return nil, err
	}
	b := &basic{file: file, slots: make(chan struct{}, comparisons)}
	b.current.Store(p)
	return b, nil
}

// AuthenticateRequest implements authenticator.Request.
func (b *basic) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil, false, nil
	}
	p := b.current.Load()
	key := p.key(name, password)
	right, seen := p.known.Get(key)
	if !seen {
		select {
		case b.slots <- struct{}{}:
		case <-r.Context().Done():
			return nil, false, r.Context().Err()
		}
		// While this one waited, another request may have brought the same.
		if right, seen = p.known.Get(key); !seen {
			right = p.right(name, password)
			p.known.Add(key, right, rememberFor)
		}
		<-b.slots
	}
	if right != true {
		return nil, false, errPassword
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: name, Groups: p.users[name].groups}}, true, nil
}

// right compares the password. An unknown user takes as long as a known one, so
// that time does not tell who there is.
func (p *passwords) right(name, password string) bool {
	l, ok := p.users[name]
	if !ok {
		_ = bcrypt.CompareHashAndPassword(p.nobody, []byte(password)) // for the time it takes
		return false
	}
	return bcrypt.CompareHashAndPassword(l.hash, []byte(password)) == nil
}

// key names an attempt without holding its password.
func (p *passwords) key(name, password string) [sha256.Size]byte {
	h := hmac.New(sha256.New, p.secret[:])
	fmt.Fprintf(h, "%d:%s%s", len(name), name, password)
	return [sha256.Size]byte(h.Sum(nil))
}

// follow keeps up with the file.
func (b *basic) follow(ctx context.Context) {
	filewatch.Follow(ctx, []string{b.file}, func(ctx context.Context) error {
		p, err := readPasswords(b.file)
		if err != nil || bytes.Equal(p.content, b.current.Load().content) {
			return err
		}
		b.current.Store(p)
		klog.FromContext(ctx).Info("Passwords are in force", "file", b.file, "users", len(p.users))
		return nil
	})
}

// readPasswords reads the file; errors name the line and never show a hash.
func readPasswords(file string) (*passwords, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--basic-auth-file: %w", err)
	}
	p := &passwords{content: content, users: map[string]login{}, known: cache.NewLRUExpireCache(rememberMost)}
	if _, err := rand.Read(p.secret[:]); err != nil {
		return nil, fmt.Errorf("--basic-auth-file %s: %w", file, err)
	}
	most := bcrypt.MinCost
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, l, cost, err := parseLogin(line)
		if err == nil && p.users[name].hash != nil {
			err = fmt.Errorf("user %q is there twice", name)
		}
		if err != nil {
			return nil, fmt.Errorf("--basic-auth-file %s: line %d: %w", file, n, err)
		}
		p.users[name], most = l, max(most, cost)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("--basic-auth-file %s: %w", file, err)
	}
	p.nobody, err = bcrypt.GenerateFromPassword(p.secret[:], most)
	if err != nil {
		return nil, fmt.Errorf("--basic-auth-file %s: %w", file, err)
	}
	return p, nil
}

// parseLogin reads name:hash[:group,group].
func parseLogin(line string) (name string, _ login, cost int, _ error) {
	parts := strings.SplitN(line, ":", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return "", login{}, 0, errors.New("want name:hash or name:hash:group,group")
	}
	l := login{hash: []byte(parts[1])}
	cost, err := bcrypt.Cost(l.hash)
	switch {
	case kindOfHash(parts[1]) != "bcrypt":
		return "", login{}, 0, fmt.Errorf("the hash of user %q is %s: only bcrypt is accepted, which 'htpasswd -B' makes", parts[0], kindOfHash(parts[1]))
	case err != nil || len(l.hash) != 60:
		return "", login{}, 0, fmt.Errorf("the bcrypt hash of user %q is malformed", parts[0])
	case cost > maxCost:
		return "", login{}, 0, fmt.Errorf("the bcrypt hash of user %q has cost %d: at most %d is accepted", parts[0], cost, maxCost)
	}
	if len(parts) == 3 {
		for g := range strings.SplitSeq(parts[2], ",") {
			if g = strings.TrimSpace(g); g != "" {
				l.groups = append(l.groups, g)
			}
		}
	}
	return parts[0], l, cost, nil
}

// kindOfHash names a hash by how it begins (crypt(5)).
func kindOfHash(hash string) string {
	for _, k := range []struct{ prefix, kind string }{
		{"$2a$", "bcrypt"},
		{"$2b$", "bcrypt"},
		{"$2y$", "bcrypt"},
		{"$apr1$", "MD5"},
		{"$1$", "MD5"},
		{"{SHA}", "SHA-1"},
		{"$5$", "SHA-256"},
		{"$6$", "SHA-512"},
		{"$y$", "yescrypt"},
		{"$7$", "scrypt"},
		{"$argon2", "argon2"},
	} {
		if strings.HasPrefix(hash, k.prefix) {
			return k.kind
		}
	}
	return "plain text or crypt"
}
