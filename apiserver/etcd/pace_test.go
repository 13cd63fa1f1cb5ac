package etcd

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// leaders tells of changes as an etcd server does.
type leaders struct{ now chan struct{} }

func (l *leaders) changed() <-chan struct{} { return l.now }

func (l *leaders) change() {
	old := l.now
	l.now = make(chan struct{})
	close(old)
}

func TestPace(t *testing.T) {
	const heartbeats = 1000
	accepted := func() *raftpb.Message { return &raftpb.Message{Type: raftpb.MsgAppResp.Enum()} }
	for _, c := range []struct {
		name   string
		change bool
		first  *raftpb.Message
		took   time.Duration // of all answers to heartbeats
		want   int
	}{
		{"a member that keeps up answers every heartbeat", false, nil, 0, heartbeats},
		{"a member that has found its leader again answers a burst once", true, nil, 0, 1},
		{"it answers once more after each period", true, nil, 250 * time.Millisecond, 3},
		{"it answers every heartbeat when it has accepted entries", true, accepted(), 0, heartbeats},
		{"entries that it refuses do not count", true, &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), Reject: new(true)}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &leaders{make(chan struct{})}
			p := newPace(l.changed, 100*time.Millisecond)
			begin := time.Now()
			if c.change {
				l.change()
			}
			if c.first != nil && !p.sends(c.first.GetType(), c.first.GetReject(), begin) {
				t.Error("what is no answer to a heartbeat was held back")
			}
			got := 0
			for i := range heartbeats {
				if p.sends(raftpb.MsgHeartbeatResp, false, begin.Add(c.took*time.Duration(i)/heartbeats)) {
					got++
				}
			}
			if got != c.want {
				t.Errorf("%d of %d were answered, not %d", got, heartbeats, c.want)
			}
		})
	}
}

// message is one as a raft's stream has it.
func message(t *testing.T, kind raftpb.MessageType, index uint64, entry []byte) []byte {
	t.Helper()
	m := &raftpb.Message{Type: kind.Enum(), Index: &index}
	if entry != nil {
		m.Entries = []*raftpb.Entry{{Data: entry}}
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(raw))), raw...)
}

func TestAStreamKeepsThePaceAndItsMessagesWhole(t *testing.T) {
	heartbeat, refusal := message(t, raftpb.MsgHeartbeatResp, 1, nil), message(t, raftpb.MsgPreVoteResp, 2, nil)
	large := message(t, raftpb.MsgApp, 3, bytes.Repeat([]byte("x"), 2*answerBytes))
	sent := slices.Concat(heartbeat, heartbeat, large, heartbeat, refusal)
	for _, c := range []struct {
		name, path string
		status     int
		want       []byte
	}{
		{"messages", rafthttp.RaftStreamPrefix + "/message/1", http.StatusOK, slices.Concat(heartbeat, large, refusal)},
		{"entries are another stream", rafthttp.RaftStreamPrefix + "/msgapp/1", http.StatusOK, sent},
		{"an error's text is no messages", rafthttp.RaftStreamPrefix + "/message/1", http.StatusNotFound, sent},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &leaders{make(chan struct{})}
			p := newPace(l.changed, time.Hour)
			l.change()
			got := httptest.NewRecorder()
			p.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				for part := range slices.Chunk(sent, 13) { // however they are cut
					if n, err := w.Write(part); n != len(part) || err != nil {
						t.Fatal(n, err)
					}
				}
				w.(http.Flusher).Flush()
			})).ServeHTTP(got, httptest.NewRequest(http.MethodGet, c.path, nil))
			if !bytes.Equal(got.Body.Bytes(), c.want) || !got.Flushed {
				t.Errorf("%d bytes of %d, flushed: %t", got.Body.Len(), len(c.want), got.Flushed)
			}
		})
	}
}
