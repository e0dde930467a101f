package machine

import (
	"slices"

	"headgate.example/lib/sale"
)

// indexIDs makes a page just 6 KiB.
const indexIDs = 511

// idIndex finds holds by their order ids: pages of ids in ascending order. Ids are minted so, and a new one is
// simply written behind the one before; a hash would cost a miss of the caches for each, and growing. Restored
// ids may come anywhere. A removed id stays, without a hold, until half of its page has gone.
type idIndex struct {
	firsts []sale.OrderID // the lowest id of each page
	pages  []*indexPage
}

type indexPage struct {
	ids  [indexIDs]sale.OrderID
	refs [indexIDs]ref // 0: removed
	used int16
	dead int16
}

// page gives the number of the page where the id belongs: the last one that does not begin above it.
func (x *idIndex) page(id sale.OrderID) int {
	n, found := slices.BinarySearch(x.firsts, id)
	if found {
		return n
	}
	return max(0, n-1)
}

func (p *indexPage) position(id sale.OrderID) (int, bool) {
	return slices.BinarySearch(p.ids[:p.used], id)
}

// find gives the hold with this id, or 0.
func (x *idIndex) find(id sale.OrderID) ref {
	if len(x.pages) == 0 {
		return 0
	}
	p := x.pages[x.page(id)]
	if at, found := p.position(id); found {
		return p.refs[at]
	}
	return 0
}

// add puts a hold in. The caller has made sure that its id is not there.
func (x *idIndex) add(id sale.OrderID, r ref) {
	last := len(x.pages) - 1
	switch {
	case last < 0 || id > x.pages[last].top() && x.pages[last].used == indexIDs:
		x.insertPage(last+1, &indexPage{used: 1, ids: [indexIDs]sale.OrderID{id}, refs: [indexIDs]ref{r}})
	case id > x.pages[last].top():
		p := x.pages[last]
		p.ids[p.used], p.refs[p.used] = id, r
		p.used++
	default:
		x.insert(id, r)
	}
}

func (p *indexPage) top() sale.OrderID { return p.ids[p.used-1] }

// insert is add for an id that is not the highest.
func (x *idIndex) insert(id sale.OrderID, r ref) {
	n := x.page(id)
	p := x.pages[n]
	at, found := p.position(id)
	switch {
	case found && p.refs[at] != 0:
		panic("machine: an order is entered twice")
	case found: // it was removed before
		p.refs[at] = r
		p.dead--
		return
	case p.used == indexIDs && p.dead > 0:
		x.tidy(n)
		x.insert(id, r)
		return
	case p.used == indexIDs:
		x.insertPage(n+1, p.split())
		x.insert(id, r)
		return
	}
	copy(p.ids[at+1:p.used+1], p.ids[at:p.used])
	copy(p.refs[at+1:p.used+1], p.refs[at:p.used])
	p.ids[at], p.refs[at] = id, r
	p.used++
	x.firsts[n] = p.ids[0]
}

func (x *idIndex) insertPage(n int, p *indexPage) {
	x.pages = slices.Insert(x.pages, n, p)
	x.firsts = slices.Insert(x.firsts, n, p.ids[0])
}

// split moves the upper half of a full page, from which nothing was removed, into a new one.
func (p *indexPage) split() *indexPage {
	const half = indexIDs / 2
	upper := &indexPage{}
	upper.take(p.ids[half:], p.refs[half:])
	p.used = half
	return upper
}

// take puts ids behind those of the page.
func (p *indexPage) take(ids []sale.OrderID, refs []ref) {
	copy(p.ids[p.used:], ids)
	copy(p.refs[p.used:], refs)
	p.used += int16(len(ids))
}

// remove takes an id out that is in.
func (x *idIndex) remove(id sale.OrderID) {
	if x.find(id) == 0 {
		panic("machine: an order is missing in the index")
	}
	n := x.page(id)
	p := x.pages[n]
	at, _ := p.position(id)
	p.refs[at] = 0
	if p.dead++; p.dead > p.used/2 {
		x.tidy(n)
	}
}

// tidy forgets the removed ids of a page, and the page itself when the one before it has room for the rest.
func (x *idIndex) tidy(n int) {
	p := x.pages[n]
	kept := int16(0)
	for i, r := range p.refs[:p.used] {
		if r != 0 {
			p.ids[kept], p.refs[kept] = p.ids[i], r
			kept++
		}
	}
	p.used, p.dead = kept, 0
	switch {
	case kept > 0 && (n == 0 || x.pages[n-1].used+kept > indexIDs/2):
		x.firsts[n] = p.ids[0]
		return
	case kept > 0:
		x.pages[n-1].take(p.ids[:kept], p.refs[:kept])
	}
	x.pages = slices.Delete(x.pages, n, n+1)
	x.firsts = slices.Delete(x.firsts, n, n+1)
}
