// Package logfiles reads the files of the replicated log, as raft-wal writes them, before raft-wal opens
// them: to tell damage from the last write that a crash cut short.
//
// raft-wal by itself takes whatever it cannot read at the end of its newest file for such a write, deletes
// files that its index does not list, and does not look at the checksums of older writes. Killed between
// the last write to a full file and the making of the next one, it cannot write any more. Recover checks all,
// names file and offset of damage, clears a torn write away so that raft-wal finds a clean end, and has a full
// file followed by a new one. FS notes durably how far the newest file was synced, so that a lost or emptied
// one is missed.
//
// It knows the format of raft-wal's segment files, version 0. It must not know what an entry means.
package logfiles
