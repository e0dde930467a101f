// Package backup keeps the state of one shard in a file: taken from a running shard while it sells, and
// made a data folder again offline.
//
// It owns the file's format and the rules of coming back. What a shard decided after its backup is lost
// with its disk, and only ledger and queue know of it. So a restored shard mints higher ids than it can
// have minted meanwhile, and its sales stand still until SALE.RESTORE has rebuilt each of them, unless
// the operator says that nothing happened after the backup. See machine.State.Recover.
package backup
