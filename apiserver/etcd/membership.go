package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// Member is one of the etcd cluster's.
type Member struct {
	ID      uint64 `json:"id"`
	Name    string `json:"name"` // empty until it has started
	URL     string `json:"url"`
	Learner bool   `json:"learner,omitempty"` // it has no vote yet
	Leader  bool   `json:"leader,omitempty"`
	Self    bool   `json:"self,omitempty"` // in the process that answers
}

// ErrAlone says that a member takes in no others.
var ErrAlone = errors.New("this server's etcd takes in no other members: its data must be in a directory and its API served on an address that others reach")

// Alone says whether the data is in this process and nowhere else, so that it
// is served by nobody when this process is gone. It asks nobody.
func (s *Store) Alone() bool { return s.server != nil && len(s.server.Cluster().Members()) == 1 }

// Members are all, by their address.
func (s *Store) Members(ctx context.Context) ([]Member, error) {
	if s.server == nil {
		return nil, errors.New("etcd runs elsewhere (--etcd-servers): ask it for its members")
	}
	r, err := s.Client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list etcd members: %w", err)
	}
	return s.members(r.Members), nil
}

func (s *Store) members(list []*etcdserverpb.Member) []Member {
	var out []Member
	for _, m := range list {
		out = append(out, Member{
			ID: m.ID, Name: m.Name, URL: slices.Concat(m.PeerURLs, []string{""})[0], Learner: m.IsLearner,
			Leader: m.ID == uint64(s.server.Leader()), Self: m.ID == uint64(s.server.MemberID()),
		})
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.URL, b.URL) })
	return out
}

// Add tells the cluster of a member at url that is about to join with an empty
// data directory, and gives all members by name for its Peers.Join. One that
// was at this place is replaced: its data is lost, or it would not join.
func (s *Store) Add(ctx context.Context, name, url string) (map[string]string, error) {
	if s.peers == nil {
		return nil, ErrAlone
	}
	if err := s.share(ctx); err != nil {
		return nil, err
	}
	have, err := s.Members(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range have {
		switch {
		case m.Self && (m.URL == url || m.Name == name):
			return nil, fmt.Errorf("the member %s at %s is this server: a server can't join itself", name, url)
		case m.URL == url, m.Name == name:
			if err := s.remove(ctx, m); err != nil {
				return nil, fmt.Errorf("replace etcd member %s: %w", m.place(), err)
			}
		}
	}
	var r *clientv3.MemberAddResponse
	err = whileUnhealthy(ctx, func() (err error) {
		r, err = s.Client.MemberAddAsLearner(ctx, []string{url})
		return err
	})
	switch {
	case errors.Is(err, rpctypes.ErrTooManyLearners):
		return nil, fmt.Errorf("add etcd member %s: another member is joining; try again when it has", name)
	case err != nil:
		return nil, fmt.Errorf("add etcd member %s: %w", name, err)
	}
	out := map[string]string{}
	for _, m := range s.members(r.Members) {
		switch {
		case m.URL == url:
			out[name] = m.URL
		case m.Name == "": // one that has not started: any name will do, but it needs one
			out[m.URL] = m.URL
		default:
			out[m.Name] = m.URL
		}
	}
	return out, nil
}

// place is what people know a member by.
func (m Member) place() string {
	if m.Name == "" {
		return m.URL
	}
	return m.Name + " at " + m.URL
}

// share opens the sockets and tells members to come where they are.
func (s *Store) share(ctx context.Context) error {
	if err := s.peers.open(s.server); err != nil {
		return err
	}
	id := uint64(s.server.MemberID())
	have, err := s.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range have {
		if m.ID == id && m.URL != s.peers.url() {
			if _, err := s.Client.MemberUpdate(ctx, id, []string{s.peers.url()}); err != nil {
				return fmt.Errorf("announce address of etcd member: %w", err)
			}
		}
	}
	return nil
}

// Remove takes the member of a name out of the cluster. Its process ends, and
// its data is of no use any more.
func (s *Store) Remove(ctx context.Context, name string) error {
	have, err := s.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range have {
		if m.Name == name || m.Name == "" && m.URL == name {
			return s.remove(ctx, m)
		}
	}
	return fmt.Errorf("there is no etcd member %q", name)
}

func (s *Store) remove(ctx context.Context, m Member) error {
	err := whileUnhealthy(ctx, func() error {
		_, err := s.Client.MemberRemove(ctx, m.ID)
		return err
	})
	if errors.Is(err, rpctypes.ErrUnhealthy) {
		return fmt.Errorf("remove etcd member %s: too few of the others would be left: %w", m.place(), err)
	}
	if err != nil {
		return fmt.Errorf("remove etcd member %s: %w", m.place(), err)
	}
	return nil
}

// whileUnhealthy tries again for as long as it takes until members that have
// just come count as connected: etcd waits for 5 s of that.
func whileUnhealthy(ctx context.Context, do func() error) error {
	end := time.Now().Add(etcdserver.HealthInterval + 2*time.Second)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if !errors.Is(err, rpctypes.ErrUnhealthy) || time.Now().After(end) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// becomeVoter waits until this member has all data and makes it count. Until
// then it could not be reached for reads.
func (s *Store) becomeVoter(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for s.server.IsLearner() {
		if _, err := s.Client.MemberPromote(ctx, uint64(s.server.MemberID())); err != nil && !errors.Is(err, rpctypes.ErrMemberNotLearner) {
			last = err
		}
		select {
		case <-tick.C:
		case <-s.server.StopNotify():
			return s.Why()
		case <-ctx.Done():
			return fmt.Errorf("become a voting member of etcd: %w (last: %w)", context.Cause(ctx), last)
		}
	}
	return nil
}

// Why says why a member stopped. By itself it does for one reason only, which
// its own data need not tell: the others may be the first to.
func (s *Store) Why() error {
	switch {
	case s.server == nil:
		return nil
	case s.stopping.Load():
		return errors.New("etcd stopped")
	}
	return errors.New("this master was removed from the cluster: remove its data directory and join it again (skiff server --join)")
}

func memberNames(s *etcdserver.EtcdServer) []string {
	names := map[string]bool{}
	for _, m := range s.Cluster().Members() {
		names[m.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
