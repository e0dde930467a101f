// Package preflight looks at a running deployment before a sale opens: is every shard of the counter whole, do
// the clocks agree, are the programs configured alike, are broker and database reachable and empty enough, do
// ledger and counter agree, does every edge know the sale and the bans, and has it been measured that what is
// asked for can be carried.
//
// Each question is a Line: ok, warn (it can open, but look at this) or FAIL (do not open before this is mended),
// with what was seen and what to do. Nothing is changed. What cannot be reached is a FAIL, never a guess.
//
// It asks what an operator can ask: the admin ports (/status, /edge/sale), the counter, the database and the
// queue, as the operator's config names them. It must not know how its report is shown.
package preflight
