package ratelimit

import "math/bits"

// A table is at most 4/5 full and grows by a quarter, so that between 64 and 80 % of it are in use while
// it grows; one that is used to less than a quarter after a sweep is made smaller.
const (
	fullNumerator, fullDenominator = 4, 5
	growthDenominator              = 4
	sparseDenominator              = 4
	minRecords                     = 8
)

// table is an open-addressing table with linear probing. All records have as many words, the stride,
// which the caller knows. The zero table is empty.
type table struct {
	words []int64 // the first of a record is its key's, 0: free
	used  int     // records
}

// place gives the word that stands for a key in its shard, and the shard, which the key's low bits
// choose. Of all keys only 0 and 1 share a word.
func place(key uint64) (word int64, shard int) {
	return int64(max(key, 1)), int(key % shardCount)
}

// home is the record at which the search for a word begins. The word is mixed first: keys of one user may
// share their high bits.
func home(word int64, records int) int {
	high, _ := bits.Mul64(uint64(word)*0x9e3779b97f4a7c15, uint64(records))
	return int(high)
}

// find gives the index of a word's record, or -1.
func (t *table) find(word int64, stride int) int {
	if len(t.words) == 0 {
		return -1
	}
	for at := home(word, len(t.words)/stride) * stride; ; {
		switch t.words[at] {
		case word:
			return at
		case 0:
			return -1
		}
		if at += stride; at == len(t.words) {
			at = 0
		}
	}
}

// crowded reports whether the table grows with the next record.
func (t *table) crowded(stride int) bool {
	return (t.used+1)*fullDenominator > len(t.words)/stride*fullNumerator
}

// insert adds a record for a word that is not there; its other words are 0.
func (t *table) insert(word int64, stride int) int {
	if t.crowded(stride) {
		records := len(t.words) / stride
		t.resize(max(minRecords, records+records/growthDenominator), stride)
	}
	t.used++
	return t.put(word, stride)
}

// put finds the free record for a word and writes the word.
func (t *table) put(word int64, stride int) int {
	at := home(word, len(t.words)/stride) * stride
	for t.words[at] != 0 {
		if at += stride; at == len(t.words) {
			at = 0
		}
	}
	t.words[at] = word
	return at
}

func (t *table) resize(records, stride int) {
	old := t.words
	t.words = make([]int64, records*stride)
	for from := 0; from < len(old); from += stride {
		if old[from] != 0 {
			copy(t.words[t.put(old[from], stride):], old[from:from+stride])
		}
	}
}

// shrink gives memory back when little of it is in use.
func (t *table) shrink(stride int) {
	records := len(t.words) / stride
	switch {
	case t.used == 0:
		t.words = nil
	case records > minRecords && t.used*sparseDenominator < records:
		t.resize(max(minRecords, t.used*2), stride)
	}
}

// remove frees a record, and closes the gap, so that searches that pass it go on: another record may
// stand there afterwards.
func (t *table) remove(gap, stride int) {
	t.used--
	records := len(t.words) / stride
	for at := gap; ; {
		if at += stride; at == len(t.words) {
			at = 0
		}
		if t.words[at] == 0 {
			break
		}
		// The record may move into the gap unless its home lies after the gap, up to itself.
		begin := home(t.words[at], records) * stride
		if within := gap < begin && begin <= at || at < gap && (gap < begin || begin <= at); within {
			continue
		}
		copy(t.words[gap:gap+stride], t.words[at:at+stride])
		gap = at
	}
	clear(t.words[gap : gap+stride])
}
