package etcd

import (
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// pace keeps a member that comes back from answering heartbeats too often.
//
//	leader ──▶ a heartbeat for each read, some hundreds per second ──▶ member
//	       ◀── an answer to each ◀──────────────────────────────────
//	       ──▶ for each answer all that the member lacks, up to 1 MB ──▶
//
// A leader that does not know yet how far a member is sends what it may lack
// again with each answer to a heartbeat. After some seconds without a network
// a thousand heartbeats come at once, and their answers made the leader send
// the same entries a thousand times. Raft loses nothing when a message is not
// sent: the next heartbeat asks for all reads that wait.
type pace struct {
	changed func() <-chan struct{} // closed when there is another leader, or one again
	every   time.Duration          // between answers while the member catches up

	mu     sync.Mutex
	next   <-chan struct{} // of changed, for the leader that there is
	behind bool            // it has accepted nothing of this leader's yet
	last   time.Time       // when a heartbeat was answered
}

func newPace(changed func() <-chan struct{}, every time.Duration) *pace {
	return &pace{changed: changed, every: every, next: changed()}
}

// sends says whether a message is to be sent now.
func (p *pace) sends(kind raftpb.MessageType, rejects bool, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.next:
		p.next, p.behind = p.changed(), true
	default:
	}
	switch {
	case kind == raftpb.MsgAppResp && !rejects:
		p.behind = false
	case kind == raftpb.MsgHeartbeatResp:
		if p.behind && now.Sub(p.last) < p.every {
			return false
		}
		p.last = now
	}
	return true
}

// serve has what other members ask for served at this pace.
func (p *pace) serve(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, rafthttp.RaftStreamPrefix+"/message/") {
			w = &pacedStream{ResponseWriter: w, pace: p}
		}
		h.ServeHTTP(w, r)
	})
}

// pacedStream is the answer that never ends and has this member's messages to
// another one, each behind its length in 8 bytes.
type pacedStream struct {
	http.ResponseWriter
	pace    *pace
	refused bool   // the answer is an error's text
	waiting []byte // the begin of a message
}

const (
	// lengthBytes is the length of a message's length.
	lengthBytes = 8
	// answerBytes is what no answer reaches: what is longer has entries.
	answerBytes = 1 << 10
)

// WriteHeader implements http.ResponseWriter.
func (s *pacedStream) WriteHeader(status int) {
	s.refused = status != http.StatusOK
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *pacedStream) Write(b []byte) (int, error) {
	if s.refused {
		return s.ResponseWriter.Write(b)
	}
	s.waiting = append(s.waiting, b...)
	for {
		if len(s.waiting) < lengthBytes {
			return len(b), nil
		}
		size := binary.BigEndian.Uint64(s.waiting)
		if uint64(len(s.waiting)-lengthBytes) < size {
			return len(b), nil
		}
		whole := s.waiting[:lengthBytes+int(size)]
		s.waiting = s.waiting[len(whole):]
		if len(s.waiting) == 0 {
			s.waiting = nil
		}
		if s.sends(whole[lengthBytes:]) {
			if _, err := s.ResponseWriter.Write(whole); err != nil {
				return 0, err
			}
		}
	}
}

func (s *pacedStream) sends(raw []byte) bool {
	if len(raw) > answerBytes {
		return true
	}
	var m raftpb.Message
	if proto.Unmarshal(raw, &m) != nil {
		return true // the other side reports it
	}
	return s.pace.sends(m.GetType(), m.GetReject(), time.Now())
}

// Flush implements http.Flusher, which the raft's streams need.
func (s *pacedStream) Flush() {
	_ = http.NewResponseController(s.ResponseWriter).Flush() // the next write reports what is broken
}
