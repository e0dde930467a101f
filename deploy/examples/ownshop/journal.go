package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// order is one line of the journal; the last line of an id counts.
type order struct {
	ID       string `json:"id"`
	Sale     string `json:"sale"`
	User     string `json:"user"`
	Quantity int    `json:"quantity"`
	State    string `json:"state"` // taken, final, undone, freeing, freed
}

// journal is where a real shop has its database: what write has returned from is on disk.
type journal struct {
	file   *os.File
	byID   map[string]order
	broken error // a write that failed; nothing is written after it
}

func openJournal(path string) (*journal, error) {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	j := &journal{byID: map[string]order{}}
	whole := bytes.LastIndexByte(text, '\n') + 1 // what follows was being written when the shop died
	for line := range bytes.Lines(text[:whole]) {
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("%s: %w in %.80q", path, err, line)
		}
		j.byID[o.ID] = o
	}
	if j.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	if err = j.file.Truncate(int64(whole)); err == nil {
		_, err = j.file.Seek(int64(whole), 0)
	}
	return j, err
}

// write puts an order's new state on disk. After an error nobody knows whether it is there: a new start
// reads what is.
func (j *journal) write(o order) error {
	line, err := json.Marshal(o)
	if err != nil || j.broken != nil {
		return errors.Join(err, j.broken)
	}
	if _, j.broken = j.file.Write(append(line, '\n')); j.broken == nil {
		j.broken = j.file.Sync()
	}
	if j.broken == nil {
		j.byID[o.ID] = o
	}
	return j.broken
}

func (j *journal) state(id string) string { return j.byID[id].State }

// open lists the orders that the counter has yet to be told of.
func (j *journal) open() (ids []string) {
	for id, o := range j.byID {
		if o.State == "taken" || o.State == "freeing" {
			ids = append(ids, id)
		}
	}
	return ids
}
