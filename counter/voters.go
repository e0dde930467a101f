package counter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"headgate.example/counter/replica"
	"headgate.example/lib/problem"
)

// voterWait bounds the look at the other voters before they change.
const voterWait = 3 * time.Second

// answerVoters tells of the shard's voters, as this one sees them. Any voter answers: it is what an
// operator asks when there is no leader.
func answerVoters(c *conn, _ [][]byte) {
	st := c.srv.replica.Status()
	c.out.Array(len(st.Members))
	for _, m := range st.Members {
		f := fields{}
		f.text("id", m.ID)
		f.text("raft", m.Raft)
		f.text("client", m.Client)
		f.number("votes", boolean(m.Votes))
		f.number("leads", boolean(m.Leads))
		f.number("reachable", boolean(m.Reachable))
		f.number("applied", int64(m.Applied))
		f.number("clock_offset_ms", m.ClockOffset.Milliseconds())
		f.write(c.out)
	}
}

func answerVoterAdd(c *conn, args [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), voterWait)
	defer cancel()
	c.voterChanged(c.srv.replica.AddVoter(ctx, replica.Voter{ID: string(args[1]), Raft: string(args[2]), Client: string(args[3])}))
}

func answerVoterRemove(c *conn, args [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), voterWait)
	defer cancel()
	c.voterChanged(c.srv.replica.RemoveVoter(ctx, string(args[1])))
}

func (c *conn) voterChanged(err error) {
	var refused *replica.MemberError
	switch {
	case err == nil:
		c.out.Simple("OK")
	case errors.As(err, &refused):
		c.out.Error(errorReply(problem.RESPErr, oneLine(refused.Error())))
	default:
		c.out.Error(c.replicaError(err))
	}
}

// voterPairs are the lines of INFO, one a voter, as Redis tells of its replicas.
func voterPairs(members []replica.Member) []string {
	var pairs []string
	for i, m := range members {
		pairs = append(pairs, "voter"+strconv.Itoa(i), fmt.Sprintf("id=%s,raft=%s,client=%s,votes=%d,leads=%d,reachable=%d,applied=%d,clock_offset_ms=%d",
			m.ID, m.Raft, m.Client, boolean(m.Votes), boolean(m.Leads), boolean(m.Reachable), m.Applied, m.ClockOffset.Milliseconds()))
	}
	return pairs
}

// oneLine makes text fit into an error reply.
func oneLine(text string) string {
	b := []byte(text)
	for i := range b {
		if b[i] < ' ' {
			b[i] = ' '
		}
	}
	return string(b)
}
