package peers

import (
	"errors"
	"net"
	"runtime"
	"sync"
)

const (
	// maxPending bounds what waits to be written on one link, bytes. Beyond it frames are refused.
	maxPending = 8 << 20
	// maxRounds is how many records one writes, with the frames of others, before somebody else goes on.
	maxRounds = 64
)

var (
	errLinkDown = errors.New("the link is down")
	errLinkBusy = errors.New("the link has no room for more")
)

// outbox is the writing side of a link. Whoever adds a frame while nobody writes becomes the writer and
// goes on until nothing is left, for a while; the others only leave theirs. So frames that come together leave
// together, and no goroutine waits for work.
type outbox struct {
	mu      sync.Mutex
	conn    net.Conn
	sealer  *sealer
	pending []byte // a record without its seal; its head is kept free
	spare   []byte
	writing bool
	batch   uint64 // number of the pending record, from 1
	err     error  // why the link is down
	// helpers go on writing where there is more to write than one should. They end with the link, and its
	// reader, which its owner waits for as well, ends after it is down.
	helpers *sync.WaitGroup
}

func newOutbox(conn net.Conn, s *sealer, helpers *sync.WaitGroup) outbox {
	return outbox{conn: conn, helpers: helpers, sealer: s, pending: make([]byte, recordHeadBytes, 4096), spare: make([]byte, recordHeadBytes, 4096), batch: 1}
}

// add leaves a frame, with the lock held, and gives the number of its record. write says that the caller
// must call write after unlocking.
func (o *outbox) add(kind byte, id uint64, payload []byte) (batch uint64, write bool, err error) {
	switch {
	case o.err != nil:
		return 0, false, o.err
	case len(o.pending) > recordHeadBytes && len(o.pending)+len(payload) > maxPending, len(payload) > MaxPayload:
		return 0, false, errLinkBusy
	}
	o.pending = appendFrame(o.pending, kind, id, payload)
	write = !o.writing
	o.writing = true
	return o.batch, write, nil
}

// leave adds one frame. write says that the caller must see that write is called.
func (o *outbox) leave(kind byte, id uint64, payload []byte) (write bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, write, err = o.add(kind, id, payload)
	return write, err
}

// post adds one frame and sees that it is written.
func (o *outbox) post(kind byte, id uint64, payload []byte) error {
	write, err := o.leave(kind, id, payload)
	if write {
		o.write(true)
	}
	return err
}

// cork takes the writing for the caller, who adds several frames and then calls write. False: somebody
// writes already, and will take what is added.
func (o *outbox) cork() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing {
		return false
	}
	o.writing = true
	return true
}

// write seals and writes what is pending until nothing is. With patience, other goroutines that are
// ready to run may first add theirs: under load that makes records of many frames, and without load
// nobody is ready, so that it costs nothing.
func (o *outbox) write(patience bool) {
	if patience {
		runtime.Gosched()
	}
	for round := 0; ; round++ {
		o.mu.Lock()
		if o.err != nil || len(o.pending) == recordHeadBytes {
			o.writing = false
			o.mu.Unlock()
			return
		}
		if round == maxRounds {
			o.helpers.Go(func() { o.write(false) })
			o.mu.Unlock()
			return
		}
		record := o.pending
		o.pending, o.spare = o.spare, nil
		o.batch++
		o.mu.Unlock()

		record = o.sealer.seal(record)
		_, err := o.conn.Write(record) // bounded by the health check, which closes a link that does not move
		if cap(record) > keepBytes {
			record = make([]byte, recordHeadBytes, 4096)
		}
		o.mu.Lock()
		o.spare = record[:recordHeadBytes]
		o.mu.Unlock()
		if err != nil {
			o.fail(err)
		}
	}
}

// fail takes the link down; the first cause stays. It gives false when it was down.
func (o *outbox) fail(cause error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false
	}
	o.err = errors.Join(errLinkDown, cause)
	_ = o.conn.Close() // its reader ends
	return true
}
