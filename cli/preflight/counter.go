package preflight

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"headgate.example/counter/client"
)

// maxBehind is how many log entries a voter may be behind its leader: what a busy second brings.
const maxBehind = 5000

// lookAtCounter asks each shard who votes, who leads, and who is away.
func (p *preflight) lookAtCounter(ctx context.Context) []Line {
	shards := p.cfg.Backend.Counter.Shards
	lines := make([]Line, len(shards))
	var group sync.WaitGroup
	for i, shard := range shards {
		group.Go(func() {
			asking, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			voters, err := p.counter.Voters(asking, shard.Name)
			if err != nil {
				lines[i] = fail("counter "+shard.Name, "start its voters at "+strings.Join(shard.Addresses, ", ")+", or mend backend.counter in the operator's config", "%v", err)
				return
			}
			lines[i] = quorum(shard.Name, voters)
			p.sawVoters(shard.Name, voters)
		})
	}
	group.Wait()
	p.sawLeaders(ctx)
	return lines
}

// quorum is the line of one shard.
func quorum(shard string, voters []client.Voter) Line {
	check := "counter " + shard
	var leader *client.Voter
	var away, behind, learning []string
	leaders, reachable := 0, 0
	for i := range voters {
		if voters[i].Leads {
			leaders++
			leader = &voters[i]
		}
	}
	for i := range voters {
		v := &voters[i]
		switch {
		case !v.Reachable:
			away = append(away, fmt.Sprintf("%s (%s)", v.ID, v.Client))
		case !v.Votes:
			learning = append(learning, v.ID)
		default:
			reachable++
			if leader != nil && leader.Applied-v.Applied > maxBehind {
				behind = append(behind, fmt.Sprintf("%s by %d entries", v.ID, leader.Applied-v.Applied))
			}
		}
	}
	switch {
	case leaders != 1:
		return fail(check, "start the voters that are away: a majority elects a leader within seconds", "%d voters lead: nothing is sold; %d of %d answer", leaders, reachable, len(voters))
	case len(away) > 0:
		return fail(check, "start it; one that lost its folder comes back under a new id: headgate counter add-voter, remove-voter",
			"%s leads, but %s does not answer: %d of %d voters are left", leader.ID, strings.Join(away, ", "), reachable, len(voters))
	case len(behind) > 0:
		return fail(check, "wait, and look again; if it does not get less, its disk or network is too slow", "behind the leader %s: %s", leader.ID, strings.Join(behind, ", "))
	case len(learning) > 0:
		return warn(check, "wait until it votes: headgate counter voters --shard "+shard, "%s leads; still catching up: %s", leader.ID, strings.Join(learning, ", "))
	case len(voters) == 1:
		return warn(check, "three voters survive the loss of a machine: README, \"Three voters\"", "one voter, %s, at entry %d: the shard stands and falls with it", leader.ID, leader.Applied)
	}
	return ok(check, "%d of %d voters answer, %s leads, at entry %d", reachable, len(voters), leader.ID, leader.Applied)
}

// sawVoters notes the voters' clocks against that of the leader, which told of them; sawLeaders adds that one's own.
func (p *preflight) sawVoters(shard string, voters []client.Voter) {
	for i := range voters {
		if v := &voters[i]; v.Reachable && !v.Leads {
			p.mu.Lock()
			p.voters = append(p.voters, voterClock{shard: shard, id: v.ID, offset: v.ClockOffset})
			p.mu.Unlock()
		}
	}
}

// voterClock is a voter's clock against its leader's.
type voterClock struct {
	shard, id string
	offset    time.Duration
}

// sawLeaders asks each shard for the sale, whose answer has the leader's time, and brings its voters' clocks into
// line with this machine's. Where the sale is not known yet, the programs' own clocks have to do.
func (p *preflight) sawLeaders(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	began := p.Now()
	info, err := p.counter.SaleInfo(asking, p.Sale)
	ended := p.Now()
	if err != nil {
		return // lookAtSale says so
	}
	leaders := map[string]clock{}
	for _, part := range info.Parts {
		leaders[part.Shard] = exchanged("leader of "+part.Shard, part.Info.Now, began, ended, 0)
	}
	if len(info.Parts) == 0 && len(p.cfg.Backend.Counter.Shards) == 1 {
		name := p.cfg.Backend.Counter.Shards[0].Name
		leaders[name] = exchanged("leader of "+name, info.Now, began, ended, 0)
	}
	for _, c := range leaders {
		p.saw(c)
	}
	for _, v := range p.voters {
		if leader, found := leaders[v.shard]; found {
			p.saw(clock{who: "voter " + v.id + " of " + v.shard, offset: leader.offset + v.offset, unsure: leader.unsure})
		}
	}
}
