package machine

import (
	"slices"
	"sort"

	"headgate.example/lib/sale"
)

const pageIDs = 512

// idPages are the order ids of one sale in ascending order, for reading them page by page. New ids go
// to the end, restored ones anywhere. A removed id is negated in place and goes when half its page has.
type idPages struct {
	pages []*idPage
	live  int
}

type idPage struct {
	ids  []sale.OrderID
	dead int
}

func plain(id sale.OrderID) sale.OrderID { return max(id, -id) }

// page gives the number of the page where the id belongs: the last one that does not begin above it.
func (p *idPages) page(id sale.OrderID) int {
	n := sort.Search(len(p.pages), func(i int) bool { return plain(p.pages[i].ids[0]) > id })
	return max(0, n-1)
}

func (p *idPage) position(id sale.OrderID) (int, bool) {
	return slices.BinarySearchFunc(p.ids, id, func(e, id sale.OrderID) int {
		switch e = plain(e); {
		case e < id:
			return -1
		case e > id:
			return 1
		}
		return 0
	})
}

func (p *idPages) add(id sale.OrderID) {
	p.live++
	if len(p.pages) == 0 {
		p.pages = append(p.pages, &idPage{ids: []sale.OrderID{id}})
		return
	}
	if pg := p.pages[len(p.pages)-1]; len(pg.ids) < pageIDs && id > plain(pg.ids[len(pg.ids)-1]) { // the usual case
		pg.ids = append(pg.ids, id)
		return
	}
	n := p.page(id)
	pg := p.pages[n]
	at, found := pg.position(id)
	if found { // it was removed before
		if pg.ids[at] > 0 {
			panic("machine: an order is entered twice")
		}
		pg.ids[at] = id
		pg.dead--
		return
	}
	if len(pg.ids) < pageIDs {
		pg.ids = slices.Insert(pg.ids, at, id)
		return
	}
	if at == len(pg.ids) { // a new page at the end
		p.pages = slices.Insert(p.pages, n+1, &idPage{ids: append(make([]sale.OrderID, 0, 32), id)})
		return
	}
	half := len(pg.ids) / 2
	upper := &idPage{ids: slices.Clone(pg.ids[half:])}
	for _, e := range upper.ids {
		upper.dead += b2i(e < 0)
	}
	pg.ids, pg.dead = slices.Clone(pg.ids[:half]), pg.dead-upper.dead
	p.pages = slices.Insert(p.pages, n+1, upper)
	p.live--
	p.add(id)
}

// remove takes an id out that is in.
func (p *idPages) remove(id sale.OrderID) {
	n := p.page(id)
	pg := p.pages[n]
	at, found := pg.position(id)
	if !found || pg.ids[at] < 0 {
		panic("machine: an order is missing in its sale")
	}
	pg.ids[at] = -id
	pg.dead++
	p.live--
	switch {
	case pg.dead == len(pg.ids):
		p.pages = slices.Delete(p.pages, n, n+1)
	case pg.dead > len(pg.ids)/2:
		kept := make([]sale.OrderID, 0, len(pg.ids)-pg.dead)
		for _, e := range pg.ids {
			if e > 0 {
				kept = append(kept, e)
			}
		}
		pg.ids, pg.dead = kept, 0
	}
}

// each calls visit for each id above after, ascending, until it answers false.
func (p *idPages) each(after sale.OrderID, visit func(sale.OrderID) bool) {
	if len(p.pages) == 0 {
		return
	}
	for _, pg := range p.pages[p.page(after):] {
		for _, id := range pg.ids {
			if id > after && !visit(id) {
				return
			}
		}
	}
}
