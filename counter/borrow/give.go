package borrow

// give brings gifts to takers who have not said that they have them.
func (b *Broker) give() {
	for i := range b.local.Transfers {
		t := &b.local.Transfers[i]
		p := b.peer(t.Peer)
		if p == nil || p.giving || t.Given == t.Acknowledged {
			continue
		}
		if p.took > t.Acknowledged { // it said so, but that is not logged yet
			if b.now < p.noteAt {
				b.wake(p.noteAt)
				continue
			}
			p.giving, p.noteAt = true, b.now+b.cfg.GiveAfter
			b.do(Action{Kind: Acknowledge, Peer: p.name, Units: p.took})
			continue
		}
		if p.given != t.Given || p.giveAt == 0 {
			p.given, p.giveAfter = t.Given, b.cfg.GiveAfter
			p.giveAt = b.now + p.giveAfter
		}
		if b.now < p.giveAt {
			b.wake(p.giveAt)
			continue
		}
		p.giving = true
		b.do(Action{Kind: Give, Peer: p.name, Units: t.Given})
	}
}

func (b *Broker) peer(name string) *peer {
	for i := range b.peers {
		if b.peers[i].name == name {
			return &b.peers[i]
		}
	}
	return nil
}

func (b *Broker) gave(ev *Event) {
	p := b.peer(ev.Peer)
	if p == nil {
		return
	}
	p.giving = false
	if ev.Kind == Gave {
		p.took = max(p.took, ev.Units)
	}
	p.giveAfter = min(max(2*p.giveAfter, b.cfg.GiveAfter), maxGiveAfter)
	p.giveAt = b.now + p.giveAfter
}
