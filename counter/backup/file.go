package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"headgate.example/counter/machine"
	"headgate.example/lib/durable"
	"headgate.example/lib/sale"
)

// Versions of the file format: this program writes Version and reads VersionMin to Version. The state in
// it has a version of its own.
const (
	Version    = 1
	VersionMin = 1
)

// A backup is the magic, the version (2 bytes), the length of the header (4 bytes), the header (JSON),
// the state as machine.Snapshot.WriteTo writes it, the end mark, and the SHA-256 of all that comes
// before the mark. Integers are little endian.
const (
	magic          = "HGBACKUP"
	endMark        = "HGBACKEND"
	prefixBytes    = len(magic) + 2 + 4
	trailerBytes   = len(endMark) + sha256.Size
	maxHeaderBytes = 4096
)

// Header says whose state a backup holds.
type Header struct {
	Shard   string    `json:"shard"`
	Number  int       `json:"number"`
	Applied uint64    `json:"applied"` // the last log entry in it
	Size    int64     `json:"size"`    // bytes of the state
	TakenAt time.Time `json:"taken_at"`
	Program string    `json:"program"` // the version of the program that took it
}

// Writer writes a backup. Close, after Size bytes, makes it whole.
type Writer struct {
	to   *os.File
	path string
	sum  hash.Hash
	left int64
}

// Create begins a backup beside path, under a name of its own; Close gives it its name. An existing file
// is not overwritten.
func Create(path string, h Header) (*Writer, error) {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already: give another name", path)
	}
	header, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return nil, fmt.Errorf("creating the backup: %w", err)
	}
	w := &Writer{to: f, path: path, sum: sha256.New(), left: h.Size + int64(prefixBytes+len(header))}
	prefix := binary.LittleEndian.AppendUint16([]byte(magic), Version)
	prefix = binary.LittleEndian.AppendUint32(prefix, uint32(len(header)))
	if _, err := w.Write(append(prefix, header...)); err != nil {
		w.Abandon()
		return nil, err
	}
	return w, nil
}

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (int, error) {
	if int64(len(b)) > w.left {
		return 0, fmt.Errorf("writing %s: more bytes than were promised", w.path)
	}
	n, err := w.to.Write(b)
	w.sum.Write(b[:n])
	w.left -= int64(n)
	if err != nil {
		return n, fmt.Errorf("writing the backup: %w", err)
	}
	return n, nil
}

// Close ends the file, brings it to the disk, reads it once to be sure of it, and names it.
func (w *Writer) Close() error {
	err := w.finish()
	if err == nil {
		_, err = Load(w.to.Name())
	}
	if err == nil {
		err = os.Link(w.to.Name(), w.path) // unlike a rename it overwrites nothing
	}
	w.Abandon()
	if err == nil {
		if err = durable.SyncDir(filepath.Dir(w.path)); err != nil {
			err = fmt.Errorf("bringing the backup's name to the disk: %w", err)
		}
	}
	return err
}

func (w *Writer) finish() error {
	if w.left != 0 {
		return fmt.Errorf("%d bytes of the backup have not come", w.left)
	}
	end := w.sum.Sum([]byte(endMark))
	if _, err := w.to.Write(end); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	if err := w.to.Sync(); err != nil {
		return fmt.Errorf("bringing the backup to the disk: %w", err)
	}
	return nil
}

// Abandon takes the unfinished file away.
func (w *Writer) Abandon() {
	_ = w.to.Close()           // what counts was synced
	_ = os.Remove(w.to.Name()) // at worst an unfinished file stays, whose name says so
}

// Loaded is a backup that was read.
type Loaded struct {
	Header
	State *machine.State
}

// Load reads a whole backup. An error names the file and the offset of what is wrong.
func Load(path string) (*Loaded, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	stat, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", path, err)
	}
	loaded, err := read(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", path, err)
	}
	return loaded, nil
}

func read(f io.ReaderAt, size int64) (*Loaded, error) {
	h, content, err := readHeader(f, size)
	if err != nil {
		return nil, err
	}
	trailer := size - int64(trailerBytes)
	if h.Size > trailer-content { // in this form a size near the largest number does not wrap around
		return nil, fmt.Errorf("offset %d: is cut off, %d bytes are missing", size, h.Size-(trailer-content))
	}
	if h.Size < trailer-content {
		return nil, fmt.Errorf("offset %d: %d bytes too many", content+h.Size, trailer-content-h.Size)
	}
	end := make([]byte, trailerBytes)
	if _, err := f.ReadAt(end, trailer); err != nil {
		return nil, fmt.Errorf("offset %d: %w", trailer, err)
	}
	if !bytes.HasPrefix(end, []byte(endMark)) {
		return nil, fmt.Errorf("offset %d: the end mark is missing", trailer)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, trailer)); err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), end[len(endMark):]) {
		return nil, fmt.Errorf("offset %d: the checksum does not match the content", trailer+int64(len(endMark)))
	}
	state, err := machine.Read(io.NewSectionReader(f, content, h.Size), machine.Options{Shard: h.Shard, Number: h.Number})
	if err != nil {
		return nil, fmt.Errorf("the state in it, from offset %d on: %w", content, err)
	}
	return &Loaded{Header: *h, State: state}, nil
}

// readHeader gives the header and where the state begins.
func readHeader(f io.ReaderAt, size int64) (*Header, int64, error) {
	prefix := make([]byte, prefixBytes)
	if n, err := f.ReadAt(prefix, 0); err != nil {
		return nil, 0, fmt.Errorf("offset %d: is cut off or no backup: %w", n, err)
	}
	if !bytes.HasPrefix(prefix, []byte(magic)) {
		return nil, 0, errors.New("offset 0: is not a backup of a counter shard")
	}
	if v := binary.LittleEndian.Uint16(prefix[len(magic):]); v < VersionMin || v > Version {
		return nil, 0, fmt.Errorf("offset %d: format version %d: this program reads %d to %d, use the program that wrote it or a later one", len(magic), v, VersionMin, Version)
	}
	length := int64(binary.LittleEndian.Uint32(prefix[len(magic)+2:]))
	if length > maxHeaderBytes || length > size-int64(prefixBytes) {
		return nil, 0, fmt.Errorf("offset %d: a header of %d bytes, at most %d are allowed and %d follow", len(magic)+2, length, maxHeaderBytes, size-int64(prefixBytes))
	}
	text := make([]byte, length)
	if _, err := f.ReadAt(text, int64(prefixBytes)); err != nil {
		return nil, 0, fmt.Errorf("offset %d: %w", prefixBytes, err)
	}
	var h Header
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, 0, fmt.Errorf("offset %d: the header is damaged: %w", prefixBytes, err)
	}
	if h.Size < 0 || h.Number < 0 || h.Number > sale.MaxShard {
		return nil, 0, fmt.Errorf("offset %d: the header is damaged: number %d, size %d", prefixBytes, h.Number, h.Size)
	}
	return &h, int64(prefixBytes) + length, nil
}
